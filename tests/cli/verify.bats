#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tenon verify: the contract that scripts are written against.

load common
setup() { common_setup; }
teardown() { common_teardown; }

@test "all accepted: status 0, one array, a row a program with the promised fields" {
    tenon verify --json "$OBSERVE"
    echo "$err"
    [ "$status" -eq 0 ]
    [ -z "$err" ]
    [ "$(json 'len(j)')" = 3 ]
    [ "$(json 'all(set(r) >= {"program","section","accepted","reason","file","line","insns_processed"} for r in j)')" = True ]
    [ "$(json 'sorted(r["program"] for r in j)')" = "['phases_begin', 'phases_end', 'request_ends']" ]
    [ "$(json 'all(r["accepted"] is True and r["reason"] == "" and r["insns_processed"] > 0 for r in j)')" = True ]
    [ "$(json '[r["section"] for r in j if r["program"] == "request_ends"][0]')" = "uprobe//usr/sbin/nginx:ngx_http_free_request" ]
}

@test "one refused: status 1, and the reason, file and line of the C source" {
    tenon verify --json "$REFUSED"
    [ "$status" -eq 1 ]
    [ "$(json 'j[0]["accepted"]')" = False ]
    [ "$(json 'len(j[0]["reason"]) > 0')" = True ]
    [ "$(json 'j[0]["file"].removeprefix("./")')" = apps/nginx/refused.bpf.c ]
    [ "$(json 'j[0]["line"]')" = "$(grep -n '\*count += 1' "$SOURCE/apps/nginx/refused.bpf.c" | cut -d: -f1)" ]
    [ "$(json 'j[0]["insns_processed"] > 0')" = True ]
}

@test "each program is loaded on its own: one bad one does not hide the good one" {
    cat >"$DIR/o.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("uprobe//bin/true:a") int good(void *ctx) { return 0; }
SEC("uprobe//bin/true:b") int bad(void *ctx) { return *(int *)(long)8; }
SEC("uprobe//bin/true:c") int fine(void *ctx) { return 1; }
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/o.c" -o "$DIR/o"
    tenon verify --json "$DIR/o"
    [ "$status" -eq 1 ]
    [ "$(json '{r["program"]: r["accepted"] for r in j} == {"good": True, "bad": False, "fine": True}')" = True ]
}

@test "for people: the source line and what to do" {
    tenon verify "$REFUSED"
    [ "$status" -eq 1 ]
    [[ $out == *"apps/nginx/refused.bpf.c:"* ]]
    [[ $out == *"*count += 1"* ]]
    # The mark stands under the operator, where the compiler says the access is.
    source=$(grep -n '| \*count += 1' <<<"$out" | cut -d: -f1)
    text=$(sed -n "${source}p" <<<"$out")
    mark=$(sed -n "$((source + 1))p" <<<"$out")
    [ "${text:$((${#mark} - 1)):2}" = "+=" ]
    [[ $mark =~ ^\ +\|\ +\^$ ]]
}

@test "a source line that speaks to the terminal is shown with dots" {
    printf '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("uprobe//bin/true:a") int bad(void *ctx) { /* \033[31m\007 */ return *(int *)(long)8; }\nchar LICENSE[] SEC("license") = "GPL";\n' >"$DIR/o.c"
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/o.c" -o "$DIR/o"
    tenon verify "$DIR/o"
    [ "$status" -eq 1 ]
    [[ $out == *"/* .[31m. */"* ]]
    [[ $out != *$'\033[31m'* ]]
}

@test "--host and -p look for the functions" {
    tenon verify --host /usr/sbin/nginx "$OBSERVE"
    [ "$status" -eq 0 ]
    tenon verify --json --host /bin/bash "$OBSERVE"
    [ "$status" -eq 1 ]
    [ "$(json 'j[0]["reason"]')" = no_symbol ]
    sleep 30 3>&- &
    CHILDREN+=($!)
    tenon verify -p $! "$OBSERVE"
    [ "$status" -eq 0 ]
    tenon verify --host x -p 1 "$OBSERVE"
    [ "$status" -eq 2 ]
}

@test "a refusal says its rule, what was known, and by which way it came there" {
    cat >"$DIR/o.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");
SEC("uprobe//bin/true:a") int bad(void *ctx)
{
    __u32 k = *(__u32 *)ctx;
    __u64 *v = bpf_map_lookup_elem(&counts, &k);

    return v ? *(v + (k & 15)) : 0;
}
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/o.c" -o "$DIR/o"
    tenon verify --json "$DIR/o"
    [ "$status" -eq 1 ]
    [ "$(json 'j[0]["reason"]')" = map_bounds ]
    [ "$(json 'j[0]["rule"]')" = "an access may lie outside a map's value" ]
    [ "$(json '"map=counts" in j[0]["state"] and j[0]["path"].startswith("from ")')" = True ]
    [ "$(json 'j[0]["text"]')" = "return v ? *(v + (k & 15)) : 0;" ]
    [ "$(json 'j[0]["column"] > 0 and "facts" not in j[0]')" = True ]
    [ "$(json 'set(j[0]["statistics"]) == {"verify_ns", "total_states", "peak_states", "max_states_per_insn"}')" = True ]
    tenon verify "$DIR/o"
    [[ $out == *"rule        an access may lie outside"* ]]
    [[ $out == *"known there R0=map_value(map=counts,ks=4,vs=8,"* ]]
    [[ $out == *"came there  from "* ]]
    [[ $out != *$'\033['* ]]
}

@test "facts of an accepted program" {
    tenon verify --json "$OBSERVE"
    [ "$(json 'all(r["available"] is True and "missing" not in r for r in j)')" = True ]
    [ "$(json 'all("bpf_map_lookup_elem" in r["facts"]["helpers"] or r["facts"]["helpers"] for r in j)')" = True ]
    [ "$(json 'all(r["facts"]["longest_path"] > 0 and r["facts"]["stack"] % 8 == 0 for r in j)')" = True ]
    [ "$(json 'any(r["facts"]["maps"] for r in j)')" = True ]
}

@test "-v shows the log in Linux's lines, -vv every path" {
    tenon verify -v "$REFUSED"
    [ "$status" -eq 1 ]
    grep -qE '^0: R1=ctx\(\) R10=fp0$' <<<"$out"
    grep -qE '^[0-9]+: \([0-9a-f]{2}\) ' <<<"$out"
    grep -qE '^; .* @ .*refused\.bpf\.c:[0-9]+$' <<<"$out"
    grep -qE '^verification time [0-9]+ usec$' <<<"$out"
    grep -qE '^processed [0-9]+ insns \(limit 1000000\) max_states_per_insn [0-9]+ total_states [0-9]+ peak_states [0-9]+ mark_read [0-9]+$' <<<"$out"
    tenon verify -v "$OBSERVE"
    [[ $out != *"0: R1=ctx()"* ]]
    [[ $out == *"a run       at most "* ]]
    tenon verify -vv --json "$OBSERVE"
    [ "$(json 'all("func#0 @0" in r["log"] and "0: R1=ctx() R10=fp0" in r["log"] for r in j)')" = True ]
}

@test "a verdict where it cannot run: accepted, and not available by name" {
    cat >"$DIR/o.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u32);
} events SEC(".maps");
SEC("uprobe//bin/true:a") int tells(void *ctx)
{
    __u32 k = 1;

    return bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &k, sizeof(k));
}
SEC("uprobe//bin/true:a") int wrong(void *ctx)
{
    __u32 k = 1;

    return bpf_perf_event_output(&k, &events, BPF_F_CURRENT_CPU, &k, sizeof(k));
}
SEC("xdp") int packet(struct xdp_md *ctx)
{
    char *data = (char *)(long)ctx->data, *end = (char *)(long)ctx->data_end;

    return data + 14 <= end ? data[13] : 2;
}
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/o.c" -o "$DIR/o"
    tenon verify --json "$DIR/o"
    [ "$status" -eq 1 ]
    [ "$(json '{r["program"]: r["accepted"] for r in j} == {"tells": True, "wrong": False, "packet": True}')" = True ]
    [ "$(json 'j[0]["available"]')" = False ]
    [ "$(json 'j[0]["missing"]["reason"]')" = helper_not_built ]
    [ "$(json 'j[0]["facts"]["helpers"] == ["bpf_perf_event_output"] and j[0]["facts"]["maps"] == ["events"]')" = True ]
    [ "$(json 'j[1]["reason"]')" = arg_type ]
    [ "$(json 'j[2]["available"] and j[2]["facts"]["context_read"] == [0] and j[2]["facts"]["context_bytes"] == 8')" = True ]
    tenon verify "$DIR/o"
    [[ $out == *"available   no, because "*"[helper_not_built]"* ]]
    # What wants to run is told the truth.
    tenon attach -p 1 "$DIR/o"
    [ "$status" -ne 0 ]
}

@test "a program for the kernel's own types is judged by them" {
    [ -r /sys/kernel/btf/vmlinux ] || skip "this machine's kernel shows no types"
    cat >"$DIR/o.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("fentry/do_nanosleep") int watch(unsigned long long *ctx) { return 0; }
SEC("fentry/do_nanosleep") int meddles(unsigned long long *ctx) { return 1; }
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/o.c" -o "$DIR/o"
    tenon verify --json "$DIR/o"
    [ "$(json '[r["accepted"] for r in j] == [True, False]')" = True ]
    [ "$(json 'j[0]["missing"]["reason"]')" = feature_not_built ]
    [ "$(json 'j[1]["reason"]')" = return_value ]
}

@test "two nodes that a tree compares have a lock each" {
    grep -qa bpf_res_spin_unlock /sys/kernel/btf/vmlinux || skip "this machine's kernel has no such locks"
    for of in x y; do
        clang -target bpf -g -O2 -mcpu=v3 -DUNLOCKED=$of -I/usr/include/x86_64-linux-gnu \
            -c "$BATS_TEST_DIRNAME/less.bpf.c" -o "$DIR/$of"
    done
    tenon verify --json "$DIR/x"
    [ "$(json 'j[0]["accepted"]')" = True ]
    tenon verify --json "$DIR/y"
    [ "$(json 'j[0]["reason"]')" = bad_lock ]
}

@test "nothing stays behind" {
    tenon verify "$OBSERVE"
    tenon ls --json
    [ "$(json 'j')" = "[]" ]
    tenon map ls --json
    [ "$(json 'j')" = "[]" ]
}
