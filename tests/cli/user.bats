#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The same as an ordinary user, without any capability, on a process of his own; and not on those of others.

load common
setup() {
    common_setup
    [ "$(id -u)" = 0 ] || skip "only root can become somebody else"
    # A copy that nobody may read and execute, as it would be installed.
    DESTDIR=$DIR/root meson install -C "$BUILD" --no-rebuild >/dev/null
    PREFIX=$(dirname "$(dirname "$(find "$DIR/root" -name tenon -path '*/bin/*')")")
    cp "$BUILD/bench/bench-target" "$COUNT" "$DIR/"
    mkdir "$DIR/run"
    chown 65534:65534 "$DIR/run"
    chmod 755 "$DIR"
    chmod -R a+rX "$DIR/root" "$DIR/bench-target" "$DIR/count.bpf.o"
    unset TENON_SOCKET
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all env -u TENON_SOCKET "XDG_RUNTIME_DIR=$DIR/run" "PATH=$DIR:$PATH")
}
teardown() { common_teardown; }

nobody() {
    status=0
    timeout -k 5 30 "${as[@]}" "$PREFIX/bin/tenon" "$@" >"$DIR/out" 2>"$DIR/err" </dev/null 3>&- || status=$?
    out=$(cat "$DIR/out")
    err=$(cat "$DIR/err")
}

@test "attach, count, list, detach on one's own process" {
    mkfifo "$DIR/ask"
    chmod 666 "$DIR/ask"
    "${as[@]}" "$DIR/bench-target" <"$DIR/ask" >"$DIR/answer" 3>&- &
    CHILDREN+=($!)
    exec 7>"$DIR/ask"
    for _ in $(seq 100); do target=$(pgrep -u 65534 -x bench-target -n) && break; sleep 0.05; done
    nobody attach --keep --json -p "$target" "$DIR/count.bpf.o"
    echo "$err"
    [ "$status" -eq 0 ]
    TARGET=$target
    target_call 777
    nobody map lookup bench_calls 0
    [ "$out" = 777 ]
    nobody ls --json
    [ "$(json 'len(j)')" = 1 ]
    nobody detach --all
    [ "$status" -eq 0 ]
    target_call 10
}

@test "the kernel's uprobes are not his to fall back to: which capabilities are missing" {
    cp "$BUILD/tests/targets/targets-exits" "$DIR/"
    printf '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("uretprobe/%s/targets-exits:tail_pointer") int leaves(void *ctx) { return 0; }\nchar LICENSE[] SEC("license") = "GPL";\n' "$DIR" >"$DIR/leaves.c"
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/leaves.c" -o "$DIR/leaves.o"
    chmod a+rX "$DIR/targets-exits" "$DIR/leaves.o"
    mkfifo "$DIR/ask"
    chmod 666 "$DIR/ask"
    "${as[@]}" "$DIR/targets-exits" <"$DIR/ask" >"$DIR/answer" 3>&- &
    CHILDREN+=($!)
    exec 7>"$DIR/ask"
    for _ in $(seq 100); do target=$(pgrep -u 65534 -x targets-exits -n) && break; sleep 0.05; done
    nobody attach -p "$target" --fallback=kernel "$DIR/leaves.o"
    echo "$err"
    [ "$status" -eq 1 ]
    said "[exit_tail_unknown]"
    said "CAP_BPF and CAP_PERFMON, which user 65534 does not have"
    said "[kernel_capabilities]"
    echo "pointer 10" >&7
    for _ in $(seq 100); do [ -s "$DIR/answer" ] && break; sleep 0.05; done
    [ -s "$DIR/answer" ]
}

@test "another user's process is refused by name" {
    "$DIR/bench-target" < <(exec sleep 30 3>&-) 3>&- &
    CHILDREN+=($!)
    nobody attach -p $! "$DIR/count.bpf.o"
    echo "$err"
    [ "$status" -eq 1 ]
    said "tenon attach: "
    kill -0 "${CHILDREN[0]}"
}

@test "a broker that may have too little says so to who wanted it" {
    "${as[@]}" "$DIR/bench-target" < <(exec sleep 30 3>&-) 3>&- &
    CHILDREN+=($!)
    as=(prlimit --as=50331648 "${as[@]}")
    nobody attach -p $! "$DIR/count.bpf.o"
    echo "$err"
    [ "$status" -eq 1 ]
    said "a broker started here may have 49152 KiB (RLIMIT_AS), and needs 65536"
    [ ! -S "$DIR/run/tenon/broker.sock" ]
}
