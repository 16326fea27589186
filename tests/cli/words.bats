#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# How the command is spoken to and how it speaks: help, versions, usage errors, doctor, a reader that goes away.

load common
setup() { common_setup; }
teardown() { common_teardown; }

commands() { sed -n 's/^    C(\([a-z]*\),.*/\1/p' "$SOURCE/src/cli/commands.h" | grep -v '^broker$'; }

@test "help lists every command, and explains each" {
    tenon help
    [ "$status" -eq 0 ]
    for command in $(commands); do
        [[ $out == *"  $command "* ]]
    done
    for command in $(commands); do
        tenon help "$command"
        echo "$command: $status $err"
        [ "$status" -eq 0 ]
        [[ $out == *"Usage: tenon $command"* ]]
    done
    tenon help map ls # words of a command are explained where it is
    [ "$status" -eq 0 ]
    [[ $out == *"Usage: tenon map "* ]]
}

@test "no command, and one that is not there: status 2" {
    tenon
    [ "$status" -eq 2 ]
    tenon nonsense
    [ "$status" -eq 2 ]
    said "tenon: nonsense: no such command"
    tenon help nonsense
    [ "$status" -eq 2 ]
}

@test "a word that is nearly a command is answered with that command" {
    for pair in atach:attach attahc:attach detch:detach lss:ls shwo:show verif:verify; do
        tenon "${pair%:*}"
        [ "$status" -eq 2 ]
        said "did you mean: tenon ${pair#*:}"
    done
    tenon xyzzy
    [ "$status" -eq 2 ]
    said "see: tenon help"
    tenon brokr # not for people
    said "see: tenon help"
}

@test "usage errors have status 2 and name the command" {
    for words in "attach" "attach --for x o" "attach --for -1 o" "attach -p 0 o" "attach -p abc o" "attach a b" \
        "attach -p 1,1 o" "attach --nonsense o" "attach o --" "detach" "detach x" "detach 0" "detach --all 3" "map" \
        "map nonsense" "map lookup x" "map dump" "verify" "verify a b" "ls x" "version x" "doctor x" "run" "run --" \
        "bench --rounds 1" "show x"; do
        # shellcheck disable=SC2086
        tenon $words
        echo "$words: $status $err"
        [ "$status" -eq 2 ]
        said "tenon ${words%% *}: "
    done
}

@test "the version, for people and machines" {
    tenon version
    [[ $out == "tenon "[0-9]* ]]
    tenon --version
    [[ $out == "tenon "[0-9]* ]]
    tenon version --json
    [ "$(json 'sorted(j)')" = "['libbpf', 'tenon']" ]
}

@test "doctor tries everything and agrees with its own exit status" {
    tenon doctor --json
    probes=$(json 'all(set(r) >= {"probe","title","answer","needed","seen","means"} for r in j)')
    [ "$probes" = True ]
    [ "$(json 'all(r["answer"] in ("yes","limited","no") and r["seen"] for r in j)')" = True ]
    [ "$(json 'all(r["answer"] == "yes" or r["means"] for r in j)')" = True ]
    bad=$(json 'any(r["needed"] and r["answer"] == "no" for r in j)')
    [ "$bad" = False ] && [ "$status" -eq 0 ] || [ "$status" -eq 1 ]
    [ "$(json '{r["probe"]: r["answer"] for r in j}["pku"] == "yes"')" = True ] || ! grep -qw ospke /proc/cpuinfo
}

@test "doctor counts the calls that breakpoints need hooked, of the C library that it has itself" {
    tenon doctor --json
    [ "$(json '[r["answer"] for r in j if r["probe"] == "signals"]')" = "['yes']" ]
    seen=$(json '[r["seen"] for r in j if r["probe"] == "signals"][0]')
    [[ $seen =~ ^all\ ([0-9]+)\ calls\ in\ /.*/libc\.so\.6\ that ]]
    [ "${BASH_REMATCH[1]}" -ge 15 ] # a row of TN_GUARDED each, at the least
}

@test "doctor sees a missing right: as an ordinary user without capabilities" {
    [ "$(id -u)" = 0 ] || skip "only root can become somebody else"
    cp "$TENON" "$DIR/t"
    chmod 755 "$DIR" "$DIR/t"
    run setpriv --reuid=65534 --regid=65534 --clear-groups env -u TENON_SOCKET "$DIR/t" doctor --json
    echo "$output" >"$DIR/out"
    [ "$(json '{r["probe"]: r["answer"] for r in j}["user"]')" = limited ]
    [ "$(json '{r["probe"]: r["answer"] for r in j}["fanotify"]')" = no ]
    [ "$(json '{r["probe"]: r["answer"] for r in j}["ptrace_child"]')" = yes ]
}

@test "no colour where standard output is no terminal" {
    tenon doctor
    [[ $out != *$'\033'* ]]
    tenon help
    [[ $out != *$'\033'* ]]
}

@test "a reader that goes away ends it quietly" {
    for _ in 1 2 3; do
        "$TENON" doctor --json 2>"$DIR/err" | true
        [ ! -s "$DIR/err" ]
    done
}

@test "standard output that cannot be written is said" {
    [ -w /dev/full ] || skip "no /dev/full"
    status=0
    "$TENON" version >/dev/full 2>"$DIR/err" || status=$?
    [ "$status" -eq 1 ]
    grep -q 'standard output' "$DIR/err"
}

@test "commands that look start no broker" {
    for words in "ls" "ls --json" "show" "show --json" "map ls" "map ls --json" "detach --all" "doctor"; do
        # shellcheck disable=SC2086
        tenon $words
        echo "$words: $status $err"
        [ "$status" -eq 0 ]
        [ ! -e "$TENON_SOCKET" ]
    done
    tenon detach 1
    [ "$status" -eq 1 ]
    tenon map dump x
    [ "$status" -eq 1 ]
}

@test "run: a tool that is not there, and the status of one that is" {
    tenon run -- nonsense-tool
    [ "$status" -eq 127 ]
    said "nonsense-tool"
    tenon run -- sh -c 'exit 7'
    [ "$status" -eq 7 ]
    tenon run sh -c 'exit 8'
    [ "$status" -eq 8 ]
    tenon run -- "$DIR"
    [ "$status" -eq 126 ]
}

@test "installed: bin, door, manual; and run finds the door there" {
    DESTDIR=$DIR/root meson install -C "$BUILD" --no-rebuild >"$DIR/log" 2>&1
    bin=$(find "$DIR/root" -name tenon -path '*/bin/*')
    [ -x "$bin" ]
    [ -n "$(find "$DIR/root" -name 'tenon.1*')" ]
    "$bin" version
    "$bin" run -- sh -c 'grep -q libtenon-door /proc/self/maps'
}
