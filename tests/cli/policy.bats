#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tenon policy: the manager's questions, asked of a host with annotations (shop.c) and an extension of it.

load common
setup() {
    common_setup
    export XDG_CACHE_HOME=$DIR/cache TENON_POLICY=$DIR/policy TENON_JOURNAL=$DIR/journal
    mkdir "$DIR/policy"
    cd "$DIR" || return
    ${CC:-cc} -O2 -g -I"$SOURCE/include" "$SOURCE/tests/cli/shop.c" -o shop
    "$TENON" spec header shop -o shop.h
    cat >ext.c <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "shop.h"
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} sold SEC(".maps");
SEC("fentry/" ENTRY_price) int BPF_PROG(count, struct order *o)
{
    __u32 k = 0;
    __u64 *n = bpf_map_lookup_elem(&sold, &k);
    if (n && shop_time() > 0)
        *n += o->quantity;
    return 0;
}
SEC("fentry/" ENTRY_price) int BPF_PROG(spy, struct order *o)
{
    bpf_printk("%d", o->customer->secret);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
C
    compile ext
}
teardown() {
    exec 9>&- || true
    common_teardown
}

compile() { clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -I. -c "$1.c" -o "$1.o"; }

counting() {
    cat >"${1:-policy/shop.yaml}" <<Y
eim: 1
host: { name: shop, binary: $DIR/shop }
extension_classes:
  - name: counting
    extension_entry: price
    allowed: [ "instructions < 1000", "memory < 1 MiB", "read(o->quantity)", now, helpers(shared) ]
Y
}

start_shop() {
    mkfifo in
    ./shop <in >shop.out 3>&- &
    SHOP=$!
    CHILDREN+=("$SHOP")
    exec 9>in
}

@test "check: none, a whole one with its hosts, and a mistake with its place" {
    tenon policy check
    [ "$status" -eq 0 ]
    [ "$out" = "no policy: a user may do to his own processes what ptrace would let him" ]
    counting
    tenon policy check
    [ "$status" -eq 0 ]
    [[ $out == "host shop: 1 entries, 2 functions, 1 states, 1 classes;"*"held against its types"* ]]
    tenon policy check --json
    [ "$(json '[(r["host"], r["governed"], r["held"], r["classes"], r["uprobe"]) for r in j]')" = "[('shop', True, True, 1, 'denied')]" ]
    sed 's/host: {.*/host: shop/' policy/shop.yaml >unplaced.yaml
    tenon policy check unplaced.yaml
    [[ $out == *"not held against types: no file says where its binary is"* ]]
    tenon policy check unplaced.yaml --host ./shop
    [[ $out == *"held against its types"* ]]
    sed -i 's/quantity/quantty/' policy/shop.yaml
    tenon policy check
    [ "$status" -eq 1 ]
    said "policy/shop.yaml:6:"
    said 'quantity'
    counting probe.yaml
    sed -i 's/: price/: "uprobe:shop_prise"/;s/allowed.*/allowed: [ instructions < 9 ]/' probe.yaml
    tenon policy check probe.yaml
    [ "$status" -eq 1 ]
    said "probe.yaml:5:22: "
    said 'shop_price'
    sed -i 's/prise/price/' probe.yaml
    tenon policy check probe.yaml
    [ "$status" -eq 0 ]
    printf 'eim: 1\nhost: shop\n\textension_classes: []\n' >tab.yaml
    tenon policy check tab.yaml
    [ "$status" -eq 1 ]
    said "tab.yaml:3:1"
    tenon policy check nowhere.yaml
    [ "$status" -eq 1 ]
    said "nowhere.yaml: No such file"
}

@test "explain: every access, call and limit with its line, granted or not" {
    counting
    tenon policy explain --json ext.o counting --host shop
    echo "$err"
    [ "$status" -eq 1 ]
    [ "$(json 'sorted({r["program"] for r in j if not r["granted"]})')" = "['spy']" ]
    [ "$(json 'sorted({r["kind"] for r in j})')" = "['access', 'call', 'limit', 'place']" ]
    [ "$(json '[r["line"] for r in j if r["what"] == "read(o->quantity)"]')" = "[$(grep -n 'o->quantity' ext.c | cut -d: -f1)]" ]
    [ "$(json 'any(r["what"] == "call of shop_time" and r["granted"] for r in j)')" = True ]
    [ "$(json 'any(r["what"] == "read(o->customer)" and "needs  read(o->customer)" in r["message"] for r in j)')" = True ]
    tenon policy explain ext.o counting --host shop
    [[ $out == *"not granted"*"read(o->customer)"* ]]
    tenon policy explain ext.o countin --host shop
    [ "$status" -eq 2 ]
    said 'did you mean "counting"'
}

@test "explain says in words that observability over uprobes has read(process)" {
    printf '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("uprobe/%s/shop:shop_price") int look(void *ctx) { long v = 0; bpf_probe_read_user(&v, 8, *(void **)ctx); return 0; }\nchar LICENSE[] SEC("license") = "GPL";\n' "$DIR" >look.c
    compile look
    tenon policy explain look.o observability --host shop
    echo "$out$err"
    [ "$status" -eq 0 ]
    [[ $out == *'class "observability" has read(process)'*"*observability* over uprobes"* ]]
    counting
    tenon policy explain look.o counting --host shop
    [ "$status" -eq 1 ]
    [[ $out != *"has read(process)"* ]]
    tenon policy infer --json look.o --host shop
    [ "$status" -eq 0 ]
    [ "$(json 'j[0]["extension_entry"]')" = "uprobe:shop_price" ]
    [ "$(json '"read(process)" in j[0]["allowed"]')" = True ]
}

@test "infer: the class admits the program as it is pasted, and without any one of its capabilities does not" {
    tenon policy infer ext.o --host shop
    echo "$err"
    [ "$status" -eq 0 ]
    cp out policy/shop.yaml
    tenon policy check
    [ "$status" -eq 0 ]
    for program in count spy; do
        tenon policy explain --json ext.o $program --host shop
        [ "$(json "all(r['granted'] for r in j if r['program'] == '$program')")" = True ]
    done
    tenon policy infer --json ext.o --host shop
    [ "$(json 'sorted(c.split()[0] for c in j[0]["allowed"])')" = "['bpf_map_lookup_elem', 'instructions', 'now', 'read(o->quantity)']" ]
    for line in $(grep -n '^      - ' policy/shop.yaml | grep -v instructions | cut -d: -f1); do
        cp policy/shop.yaml whole.yaml
        sed -i "${line}d" policy/shop.yaml
        name=$(head -n "$line" whole.yaml | grep -o 'name: .*' | tail -n 1 | cut -c 7-)
        tenon policy explain --json ext.o "$name" --host shop
        [ "$(json "all(r['granted'] for r in j if r['program'] == '$name')")" = False ]
        cp whole.yaml policy/shop.yaml
    done
}

@test "diff: what a new policy newly allows" {
    counting old.yaml
    sed 's/< 1000/< 2000/; s/now,/replace, "read(o->customer->secret)",/' old.yaml >new.yaml
    printf 'defaults: { uprobe: observability }\n' >>new.yaml
    tenon policy diff --json old.yaml new.yaml --host shop
    echo "$err"
    [ "$status" -eq 1 ]
    [ "$(json 'j[0]["newly"]')" = "['instructions < 2000', 'replace', 'read(o->customer->secret)', 'read(o->customer)']" ]
    [ "$(json 'j[1]["newly"]')" = "['uprobe: observability']" ]
    tenon policy diff old.yaml old.yaml --host shop
    [ "$status" -eq 0 ]
    # The same classes, of a specification that asks less and believes more.
    cat >old.yaml <<'Y'
eim: 1
host: shop
function_capabilities:
  - { name: log, function: shop_log, constraints: [ "nonnull(o)", "level < 8", IO ] }
  - { name: now, function: shop_time, constraints: [ "rtn > 0" ] }
extension_entries: [ { name: price, extension_entry: shop_price, constraints: [ "rtn >= 0" ] } ]
extension_classes:
  - { name: counting, extension_entry: price, allowed: [ instructions < 9, log, now, replace ] }
Y
    sed 's/"nonnull(o)", "level < 8", IO/"nullable(o)"/; s/"rtn > 0"/&, "rtn > 9"/; s/"rtn >= 0"/"nonnull(o)"/' old.yaml >new.yaml
    tenon policy diff --json old.yaml new.yaml --host shop
    echo "$err"
    [ "$status" -eq 1 ]
    [ "$(json 'sorted(j[0]["newly"])')" = "['log with nullable(o)', 'log without IO', 'log without level < 8', 'log without nonnull(o)', 'now with rtn > 9', 'price with nonnull(o)', 'price without rtn >= 0']" ]
    tenon policy diff --json new.yaml old.yaml --host shop
    [ "$(json 'j')" = "[]" ]
    tenon policy diff old.yaml nowhere.yaml --host shop
    [ "$status" -eq 2 ]
}

@test "attached, audited, simulated; a changed policy takes away what no longer fits" {
    counting
    start_shop
    tenon attach -p "$SHOP" --class counting --program count --keep ext.o
    echo "$err"
    [ "$status" -eq 0 ]
    tenon attach -p "$SHOP" --class counting --program spy --keep ext.o
    [ "$status" -eq 1 ]
    said 'class "counting" does not allow this read'
    said 'needs  read(o->customer)'
    tenon policy simulate
    [ "$status" -eq 0 ]
    counting split.yaml # what one file says, the other needs
    printf 'function_capabilities: [ { name: now, function: shop_time } ]\n' >>split.yaml
    printf 'eim: 1\nhost: shop\nextension_entries: [ { name: price, extension_entry: shop_price } ]\n' >entries.yaml
    for order in 'split.yaml entries.yaml' 'entries.yaml split.yaml'; do
        # shellcheck disable=SC2086
        tenon policy simulate --json $order
        echo "$err"
        [ "$status" -eq 0 ]
        [ "$(json '[r["outcome"] for r in j]')" = "['stays']" ]
    done
    counting new.yaml
    sed -i 's/now, //' new.yaml
    tenon policy simulate --json new.yaml
    [ "$status" -eq 1 ]
    [ "$(json '[(r["prog"], r["class"], r["outcome"], r["reason"]) for r in j]')" = "[('count', 'counting', 'refused', 'class_denies')]" ]
    tenon policy audit --json
    [ "$(json '[(r["deed"], r["program"], r.get("refused", "")) for r in j][:2]')" = "[('load', 'count', ''), ('attach', 'count', '')]" ]
    probe
    tenon attach -p "$SHOP" look.o # a load by nobody's types is told, too, admitted or not
    [ "$status" -eq 1 ]
    tenon policy audit --json
    [ "$(json '[(r["deed"], r["program"], "refused" in r) for r in j][-2:]')" = "[('load', 'look', False), ('attach', 'look', True)]" ]
    sed -i 's/return.*;/long a[70]; return a[69];/' look.c
    compile look
    sed 's/long a\[70\]; return a\[69\];/return *(volatile int *)8;/' look.c >wild.c
    compile wild
    tenon attach -p "$SHOP" wild.o
    [ "$status" -eq 1 ]
    tenon policy audit --json
    [ "$(json '[(r["deed"], r["program"], "refused" in r) for r in j][-1]')" = "('load', 'look', True)" ]
    tenon policy audit --json --refused
    [ "$(json '{(r["program"], r["class"], r["refused"]) for r in j if r["program"] == "spy"}')" = "{('spy', 'counting', 'class_denies')}" ]
    cp new.yaml policy/shop.yaml
    for _ in $(seq 100); do
        tenon ls --json
        [ "$(json 'len(j)')" = 0 ] && break
        sleep 0.05
    done
    [ "$(json 'len(j)')" = 0 ]
    tenon policy audit
    [[ $out == *"detached by a changed policy"* ]]
    tenon run -- bpftool link show --json
    [ "$(json 'j')" = "[]" ] # nobody keeps what was detached
}

@test "a tool as it is loads under the class that the command names" {
    counting
    start_shop
    tenon run --host "$SHOP" --class counting -- bpftool prog load ext.o "$DIR/pin"
    said 'class "counting" does not allow this read' # `count` was loaded, `spy` was not
    tenon run --host "$SHOP" --class nowhere -- bpftool prog load ext.o "$DIR/pin"
    said 'host "shop" has no extension class "nowhere"'
    tenon policy audit --json
    [ "$(json 'sorted({(r["program"], r.get("class", ""), r.get("refused", "")) for r in j})')" = "[('count', '', 'no_class'), ('count', 'counting', ''), ('spy', 'counting', 'class_denies')]" ]
}

# A probe of the shop, as the kernel's uprobes are.
probe() {
    printf '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("uprobe/%s/shop:shop_price") int look(void *ctx) { return bpf_get_smp_processor_id() > 4096; }\nchar LICENSE[] SEC("license") = "GPL";\n' "$DIR" >look.c
    compile look
}

# attached N: so many links there are, within two seconds
attached() {
    for _ in $(seq 40); do
        tenon ls --json
        [ "$(json 'len(j)')" = "$1" ] && return 0
        sleep 0.05
    done
    echo "$1 wanted: $out$err"
    return 1
}

# A policy of the shop's; what is read is whole.
policy() {
    cat >next.yaml
    mv next.yaml "${1:-policy/shop.yaml}"
}

@test "a class of the house is nobody's to name where it is not the default" {
    counting
    probe
    start_shop
    for class in observability customizability; do
        tenon attach -p "$SHOP" --class "$class" look.o
        [ "$status" -eq 1 ]
        said "class \"$class\" is not for a probe"
        tenon attach -p "$SHOP" --class "$class" --program count ext.o
        [ "$status" -eq 1 ]
        said "class \"$class\" is not for a function"
    done
    printf 'eim: 1\nhost: shop\ndefaults: { uprobe: observability }\n' | policy
    tenon attach -p "$SHOP" --class customizability look.o
    [ "$status" -eq 1 ]
    tenon attach -p "$SHOP" --class observability --keep look.o
    echo "$err"
    [ "$status" -eq 0 ]
}

@test "a binary is governed by whatever name it is called" {
    counting
    ln -s "$DIR" folder
    sed -i "s|^host: .*|host: { name: the-shop, binary: $DIR/folder/shop }|" policy/shop.yaml
    ln shop alias # the same file
    probe
    sed 's/shop:/alias:/' look.c >other.c
    compile other
    start_shop
    for object in look other; do
        tenon attach -p "$SHOP" $object.o
        echo "$out$err"
        [ "$status" -eq 1 ]
        said 'host "the-shop" names no class here'
    done
    tenon attach -p "$SHOP" --host "$DIR/alias" --program spy ext.o
    [ "$status" -eq 1 ]
    said 'host "the-shop" names no class here'
    tenon policy check
    [ "$status" -eq 0 ]
}

@test "a specification of another build is no specification: check says it, and nothing is admitted by it" {
    tenon spec extract shop -o policy/spec.yaml
    counting
    tenon policy check
    echo "$err"
    [ "$status" -eq 0 ]
    start_shop
    tenon attach -p "$SHOP" --class counting --program count --keep ext.o
    [ "$status" -eq 0 ]
    sed 's/build_id: "../build_id: "/' policy/spec.yaml | policy policy/spec.yaml
    for words in "policy check" "policy explain ext.o counting --host shop" "attach -p $SHOP --class counting --program count ext.o"; do
        # shellcheck disable=SC2086
        tenon $words
        [ "$status" -ne 0 ]
        said "policy/spec.yaml:2:"
        said "the specification is of build"
    done
    attached 1 # what is there stays until it is mended
}

@test "the journal has what came of it: an attach that failed is not done" {
    counting
    start_shop
    tenon attach -p "$SHOP" --class counting --program count --keep ext.o
    echo "$err"
    [ "$status" -eq 0 ]
    mkdir "$DIR/second"
    chmod 700 "$DIR/second"
    TENON_SOCKET=$DIR/second/broker.sock tenon attach -p "$SHOP" --class counting --program count ext.o
    [ "$status" -eq 1 ]
    said "held by another broker"
    tenon policy audit --json
    [ "$(json '[(r["deed"], r.get("refused", "done")) for r in j]')" = "[('load', 'done'), ('attach', 'done'), ('load', 'done'), ('attach', 'held')]" ]
}

@test "printing is no way around: what prints the bytes at an address needs read(process)" {
    cat >print.c <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "shop.h"
SEC("fentry/" ENTRY_price) int BPF_PROG(bytes, struct order *o)
{
    bpf_printk("%s", (char *)o + 8);
    return 0;
}
SEC("fentry/" ENTRY_price) int BPF_PROG(later, struct order *o)
{
    bpf_printk("%d of 100%% %5pks", 3, o);
    return 0;
}
SEC("fentry/" ENTRY_price) int BPF_PROG(composed, struct order *o)
{
    char format[] = "%c";

    format[1] = bpf_get_smp_processor_id() > 4096 ? 'c' : 's';
    bpf_trace_printk(format, sizeof(format), o);
    return 0;
}
SEC("fentry/" ENTRY_price) int BPF_PROG(numbers, struct order *o)
{
    bpf_printk("100%%s %-5lu %p", 7, o);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
C
    compile print
    counting
    sed -i 's/now, helpers(shared)/helpers(local), helpers(kernel)/' policy/shop.yaml
    tenon verify --json print.o --host shop --class counting
    echo "$out$err"
    [ "$(json '{r["program"]: r["reason"] for r in j}')" = "{'bytes': 'class_denies', 'later': 'class_denies', 'composed': 'class_denies', 'numbers': ''}" ]
    sed -i 's/helpers(kernel)/helpers(kernel), read(process)/' policy/shop.yaml
    sleep 0.3
    tenon verify --json print.o --host shop --class counting
    [ "$(json '{r["reason"] for r in j}')" = "{''}" ]
    tenon policy infer --json print.o --host shop
    [ "$(json '[r["program"] for r in j if "read(process)" in r["allowed"]]')" = "['bytes', 'later', 'composed']" ]
}

@test "a changed policy takes away what its limits, users, entries and defaults no longer allow, probes too" {
    probe
    start_shop
    for change in 's/< 1000/< 5/' 's/$/\n    who: [ "uid:65534" ]/;$!s/\n.*//' 's/: price/: "uprobe:shop_time"/;s/, now.*/, IO ]/;s/read(o->quantity)/read(arguments)/'; do
        counting
        sleep 0.3
        tenon attach -p "$SHOP" --class counting --program count --keep ext.o
        echo "$change: $err"
        [ "$status" -eq 0 ]
        sed "$change" policy/shop.yaml | policy
        tenon policy check
        [ "$status" -eq 0 ]
        attached 0
        tenon policy audit --json --refused
        [ "$(json '(j[-1]["deed"], j[-1]["program"], j[-1]["class"])')" = "('detached by a changed policy', 'count', 'counting')" ]
    done
    rm policy/shop.yaml
    sleep 0.3
    tenon attach -p "$SHOP" --keep look.o # nobody governs: as ptrace would let him
    [ "$status" -eq 0 ]
    printf 'eim: 1\nhost: shop\ndefaults: { uprobe: observability }\n' | policy
    attached 1
    printf 'eim: 1\nhost: shop\ndefaults: { uprobe: denied }\n' | policy
    attached 0
    sed 's/extension_entry: price/extension_entry: "uprobe:shop_price"/;s/allowed.*/allowed: [ instructions < 2, helpers(local) ]/' <<<"$(counting /dev/stdout)" | policy
    tenon attach -p "$SHOP" --class counting look.o
    [ "$status" -eq 1 ]
    said "needs  instructions < "
    sed 's/< 2/< 20/' policy/shop.yaml | policy
    tenon attach -p "$SHOP" --class counting --keep look.o
    [ "$status" -eq 0 ]
    sed 's/helpers(local)/IO/' policy/shop.yaml | policy
    attached 0
}

@test "a policy is heeded wherever it comes from: a folder made later, a file that is replaced, a link's target" {
    start_shop
    export TENON_POLICY=$DIR/later/deep:$DIR/one.yaml:$DIR/links
    mkdir links
    ln -s "$DIR/target.yaml" links/shop.yaml
    counting target.yaml
    tenon attach -p "$SHOP" --class counting --program count --keep ext.o
    echo "$err"
    [ "$status" -eq 0 ]
    for more in IO replace; do # twice: what is looked at is the file that is there now
        sed "s/now,/now, $more,/" target.yaml | policy target.yaml
        attached 1
    done
    sed 's/"read(o->quantity)", //' target.yaml | policy target.yaml
    attached 0
    rm links/shop.yaml
    for _ in 1 2; do
        counting one.yaml
        sleep 0.3
        tenon attach -p "$SHOP" --class counting --program count --keep ext.o
        echo "$err"
        [ "$status" -eq 0 ]
        sed 's/"read(o->quantity)", //' one.yaml | policy one.yaml
        attached 0
    done
    rm one.yaml
    sleep 0.3
    tenon attach -p "$SHOP" --program count --keep ext.o
    [ "$status" -eq 0 ]
    mkdir -p later/deep
    sleep 0.1
    counting later/deep/shop.yaml
    attached 0
    chmod go+w later/deep/shop.yaml
    sleep 0.3
    tenon attach -p "$SHOP" --class counting --program count ext.o
    [ "$status" -eq 1 ]
    said "can be written by others"
    chmod go-w later/deep/shop.yaml
    sleep 0.3
    tenon attach -p "$SHOP" --class counting --program count --keep ext.o
    [ "$status" -eq 0 ]
}

@test "verify --class holds programs against a class" {
    counting
    tenon verify --json ext.o --host shop --class counting
    [ "$status" -eq 1 ]
    [ "$(json '{r["program"]: r["reason"] for r in j}')" = "{'count': '', 'spy': 'class_denies'}" ]
    tenon verify ext.o --class counting
    [ "$status" -eq 2 ]
}

@test "doctor says which policy there is" {
    tenon doctor --json
    [ "$(json '[(r["answer"], r["seen"]) for r in j if r["probe"] == "policy"]')" = "[('limited', 'no policy: a user may do to his own processes what ptrace would let him')]" ]
    counting
    tenon doctor --json
    [ "$(json '[(r["answer"], r["seen"]) for r in j if r["probe"] == "policy"]')" = "[('yes', '1 file for host shop')]" ]
    printf 'nonsense: 1\n' >policy/more.yaml
    tenon doctor --json
    [ "$(json '[r["answer"] for r in j if r["probe"] == "policy"]')" = "['no']" ]
    [ "$(json '["policy/more.yaml:1:1" in r["seen"] for r in j if r["probe"] == "policy"]')" = "[True]" ]
}

@test "type information that is refused, and the class with it: the refusal says so" {
    counting
    start_shop
    # Clang puts one of these into a section of its own, and says in BTF that it overlaps the other.
    cat >torn.c <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "shop.h"
static const volatile unsigned char plain[256] = {1};
static const unsigned char small[32] = {3, 1, 2};
__attribute__((btf_decl_tag("eim:class=counting")))
SEC("fentry/" ENTRY_price) int BPF_PROG(count, struct order *o)
{
    return plain[small[o->quantity & 31]];
}
char LICENSE[] SEC("license") = "GPL";
C
    compile torn
    tenon attach --for 0.1 -p "$SHOP" torn.o
    echo "$err"
    [ "$status" -eq 1 ]
    said "names no class here"
    said "which was refused: ["
    said "DATASEC .rodata"
}

@test "a binary without types: probes by what needs none; what needs types is refused by name" {
    ${CC:-cc} -O2 -rdynamic -I"$SOURCE/include" "$SOURCE/tests/cli/shop.c" -o bare
    strip bare -o shop
    objcopy --remove-section=.note.eim shop
    probe
    printf 'eim: 1\nhost: { name: shop, binary: %s/shop }\ndefaults: { uprobe: observability }\n' "$DIR" >policy/shop.yaml
    start_shop
    tenon attach -p "$SHOP" --keep look.o
    echo "$err"
    [ "$status" -eq 0 ]
    attached 1
    tenon policy simulate
    echo "$out$err"
    [ "$status" -eq 0 ]
    sed -i 's/defaults.*/extension_classes: [ { name: priced, extension_entry: "uprobe:shop_price", allowed: [ instructions < 20, helpers(local) ] } ]/' policy/shop.yaml
    attached 0 # it named no class, and none is the default now
    tenon attach -p "$SHOP" --class priced --keep look.o
    echo "$err"
    [ "$status" -eq 0 ]
    sed -i 's/uprobe:shop_price/uprobe:shop_time/' policy/shop.yaml
    attached 0
    tenon attach -p "$SHOP" --class priced look.o
    [ "$status" -eq 1 ]
    said 'class "priced" stands for shop_time'
    sed -i 's/helpers(local)/read(order->quantity)/' policy/shop.yaml
    sleep 0.3
    tenon attach -p "$SHOP" --class priced look.o
    [ "$status" -eq 1 ]
    said "policy/shop.yaml:3:"
    said 'order'
    tenon attach -p "$SHOP" ext.o # by types
    [ "$status" -eq 1 ]
    said "no_types"
}

@test "who: the groups of the process count, however many, and no others" {
    [ "$(id -u)" = 0 ] || skip "only root can have other groups"
    counting
    printf '    who: [ "gid:4242" ]\n' >>policy/shop.yaml
    start_shop
    as() { # GROUPS: attaches with them
        status=0
        setpriv --groups "$1" timeout -k 5 30 "$TENON" attach --keep -p "$SHOP" --class counting --program count \
            ext.o >out 2>err </dev/null 3>&- || status=$?
        err=$(cat err)
        "$TENON" detach --all
    }
    as 4241
    [ "$status" -eq 1 ]
    said "class_user"
    as "$(seq -s, 5000 5400),4242"
    echo "$err"
    [ "$status" -eq 0 ]
    sed -i 's/4242/0/' policy/shop.yaml # root's by passwd, and his group as it is
    sleep 0.3
    as 4242
    [ "$status" -eq 0 ]
    status=0
    setpriv --regid 4243 --clear-groups timeout 30 "$TENON" attach -p "$SHOP" --class counting --program count ext.o >out 2>err </dev/null 3>&- || status=$?
    err=$(cat err)
    [ "$status" -eq 1 ]
    said "class_user"
    # What is kept is held against the groups that it was made with.
    sed -i 's/gid:0/gid:4242/' policy/shop.yaml
    sleep 0.3
    setpriv --groups 4242 timeout 30 "$TENON" attach -p "$SHOP" --class counting --program count --keep ext.o </dev/null 3>&-
    attached 1
    tenon policy simulate --json
    echo "$err"
    [ "$(json '[r["outcome"] for r in j]')" = "['stays']" ]
    sed 's/4242/4243/' policy/shop.yaml >other.yaml
    tenon policy simulate --json other.yaml
    [ "$(json '[(r["outcome"], r["reason"]) for r in j]')" = "[('refused', 'class_user')]" ]
    sed -i 's/now, //;s/helpers/now, helpers/' policy/shop.yaml
    sleep 0.3
    attached 1
    sed -i 's/4242/4243/' policy/shop.yaml
    attached 0
}

@test "who: a user and a group that have no name" {
    [ "$(id -u)" = 0 ] || skip "only root can become somebody else"
    run getent passwd 54321
    [ "$status" -ne 0 ] || skip "somebody is user 54321"
    counting
    printf '    who: [ "uid:54321" ]\n' >>policy/shop.yaml
    cp "$TENON" tenon
    mkdir his
    chown 54321:54322 his
    chmod 755 . && chmod -R a+rX policy shop ext.o tenon
    as=(setpriv --reuid=54321 --regid=54322 --clear-groups --inh-caps=-all env "TENON_SOCKET=$DIR/his/broker.sock"
        "HOME=$DIR/his" "XDG_CACHE_HOME=$DIR/his" "TENON_JOURNAL=$DIR/his/journal" "PATH=$DIR:$PATH")
    mkfifo in
    chmod 666 in
    "${as[@]}" ./shop <in >shop.out 3>&- &
    CHILDREN+=($!)
    exec 9>in
    shop=$!
    his() {
        status=0
        timeout -k 5 30 "${as[@]}" ./tenon "$@" >out 2>err </dev/null 3>&- || status=$?
        out=$(cat out)
        err=$(cat err)
    }
    for _ in $(seq 100); do [ "$(readlink "/proc/$shop/exe")" = "$DIR/shop" ] && break; sleep 0.05; done
    his attach --keep -p "$shop" --class counting --program count ext.o
    echo "$err"
    [ "$status" -eq 0 ]
    his policy simulate
    [ "$status" -eq 0 ]
    for who in uid:54322 gid:54321 gid:0; do
        sed "s/uid:54321/$who/" policy/shop.yaml >other.yaml
        his policy simulate --json other.yaml
        [ "$(json '[(r["outcome"], r["reason"]) for r in j]')" = "[('refused', 'class_user')]" ]
    done
    sed 's/uid:54321/gid:54322/' policy/shop.yaml >other.yaml
    his policy simulate other.yaml
    [ "$status" -eq 0 ]
    his detach --all
    sed -i 's/uid:54321/uid:54322/' policy/shop.yaml
    his attach --keep -p "$shop" --class counting --program count ext.o
    [ "$status" -eq 1 ]
    said "is not for user 54321"
    his detach --all
}

@test "what a policy says counts for the very next question" {
    start_shop
    for round in $(seq 10); do
        counting
        tenon attach --for 0.01 -p "$SHOP" --class counting --program count ext.o
        echo "round $round: $err"
        [ "$status" -eq 0 ]
        sed -i "s/helpers(shared)/IO/" policy/shop.yaml
        tenon attach --for 0.01 -p "$SHOP" --class counting --program count ext.o
        echo "round $round: $err"
        [ "$status" -eq 1 ]
        said "needs  bpf_map_lookup_elem"
    done
}
