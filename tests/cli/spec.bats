#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tenon spec: annotations become a specification, held against binaries of every condition.

load common
setup() {
    common_setup
    export XDG_CACHE_HOME=$DIR/cache TENON_POLICY=
    cd "$DIR" || return
}
teardown() { common_teardown; }

shop() { ${CC:-cc} -O2 -g -I"$SOURCE/include" "$@" "$SOURCE/tests/cli/shop.c" -o "$DIR/${out_file:-shop}"; }

@test "extract writes prototypes and the build, and check holds the file against its binary" {
    shop
    tenon spec extract shop -o shop.yaml
    echo "$err"
    [ "$status" -eq 0 ] && [ -z "$out$err" ]
    build=$(readelf -n shop | sed -n 's/.*Build ID: //p')
    grep -q "build_id: \"$build\"" shop.yaml
    grep -q 'prototype: "int (struct order \*o, int level)"' shop.yaml
    grep -q 'constraints: \[ "nonnull(o)", "level < 8", "IO" \]' shop.yaml
    tenon spec check shop.yaml
    [ "$status" -eq 0 ]
    [[ $out == *"4 capabilities of host shop hold for $DIR/shop, build $build"* ]]
    tenon spec check --json shop.yaml
    [ "$(json '[(r["kind"], r["name"]) for r in j]')" = "[('entry', 'price'), ('function', 'log'), ('function', 'now'), ('state', 'readPid')]" ]
    [ "$(json 'all(r["there"] for r in j)')" = True ]
}

@test "what is printed reads as the same" {
    shop
    tenon spec extract shop -o one.yaml
    TENON_POLICY=$DIR/one.yaml tenon spec extract shop -o two.yaml
    cmp one.yaml two.yaml
}

@test "extract: inlined and missing functions are refused by name and place, and no file is written" {
    shop -DSHOP_BROKEN
    tenon spec extract shop -o shop.yaml
    [ "$status" -eq 1 ]
    [ ! -e shop.yaml ]
    line=$(grep -n 'EIM_ENTRY(folded' "$SOURCE/tests/cli/shop.c" | cut -d: -f1)
    said "tests/cli/shop.c:$line: entry folded: shop_folded"
    said "[inlined]"
    said "function gone: $DIR/shop has no function shop_nothing"
    printf 'eim: 1\nhost: { name: shop, binary: %s }\nfunction_capabilities: [ { name: a, function: shop_tine } ]\n' "$DIR/shop" >near.yaml
    tenon spec check near.yaml
    [ "$status" -eq 1 ]
    said 'did you mean "shop_time"?'
}

@test "a stripped binary: exported names are found, the others refused by name; its debug file helps" {
    out_file=whole shop -rdynamic
    cp whole stripped
    strip stripped
    tenon spec check --json stripped
    [ "$status" -eq 1 ]
    [ "$(json '{r["name"]: r["reason"] for r in j}')" = "{'price': '', 'log': '', 'now': '', 'readPid': 'no_types'}" ]
    out_file=whole shop
    cp whole stripped
    strip stripped
    tenon spec check stripped
    [ "$status" -eq 1 ]
    said 'entry price'
    said 'no function "shop_price"'
    tenon spec check --debug whole stripped
    echo "$err"
    [ "$status" -eq 0 ]
    tenon spec extract --debug whole stripped
    [[ $out == *'prototype: "int (struct order *o)"'* ]]
}

@test "a binary of another build, a wrong prototype, an unknown key: told with line and column" {
    shop
    tenon spec extract shop -o shop.yaml
    out_file=other shop -DOTHER -O1
    tenon spec check shop.yaml other
    [ "$status" -eq 1 ]
    said "[other_build]"
    said "shop.yaml:$(grep -n build_id shop.yaml | cut -d: -f1):$(grep build_id shop.yaml | sed 's/build_id: .*/build_id: /' | wc -c)"
    sed 's/int (struct order \*o)/long (struct order *o)/; s/, build_id: "[0-9a-f]*"//; /address:/d' shop.yaml >wrong.yaml
    tenon spec check wrong.yaml
    [ "$status" -eq 1 ]
    said "wrong.yaml:$(grep -n '"long (' wrong.yaml | cut -d: -f1):"
    said "the result is a"
    sed 's/constraints/constraint/' shop.yaml >wrong.yaml
    tenon spec check wrong.yaml
    [ "$status" -eq 1 ]
    said "wrong.yaml:$(grep -n 'constraint:' wrong.yaml | head -n 1 | cut -d: -f1):5"
}

@test "show lists what could be allowed; a host without annotations is told what every host has" {
    shop
    tenon spec show --json shop
    [ "$(json '[r["prototype"] for r in j if r["kind"] == "entry"]')" = "['int (struct order *o)']" ]
    tenon spec show shop
    [[ $out == *"uprobe:FUNCTION and uretprobe:FUNCTION of "*" functions"* ]]
    tenon spec extract /bin/true
    [ "$status" -eq 1 ]
    said no_annotations
}

@test "header: an extension compiles against it, for C that looks through pointers" {
    shop
    tenon spec header shop -o shop.h
    echo "$err"
    [ "$status" -eq 0 ]
    cat >o.c <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "shop.h"
SEC("fentry/" ENTRY_price) int BPF_PROG(peek, struct order *o)
{
    return shop_time() > shop_pid && o->customer->name[0] && o->note.len ? 0 : 0;
}
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu -c o.c -o o
    tenon verify --host shop o
    echo "$out"
    [ "$status" -eq 0 ]
}

# A header of the shop's, which wants a flag; and the specification of a shop that has nothing but its exported names.
bare_shop() {
    cat >shop.h <<'C'
#ifndef QUANTITY
#error which quantity?
#endif
struct customer { char name[16]; int secret; };
struct order { struct customer *customer; QUANTITY quantity; int discount; struct { unsigned len; char *data; } note; };
int shop_price(struct order *o), shop_log(struct order *o, int level);
long shop_time(void);
void (*shop_handler(int which, void (*handler)(int)))(int);
static inline int shop_twice(int x) { return 2 * x; }
extern int shop_pid;
#define shop_time() 0
C
    shop -rdynamic
    strip shop
    cat >shop.yaml <<'Y'
eim: 1
host: { name: shop, types: shop.btf }
state_capabilities: [ { name: readPid, operation: read(shop_pid) } ]
function_capabilities: [ { name: now, function: shop_time, constraints: [ "rtn > 0" ] } ]
extension_entries: [ { name: price, extension_entry: shop_price, constraints: [ nonnull(o) ] } ]
extension_classes:
  - { name: counting, extension_entry: price,
      allowed: [ instructions < 1000, memory < 1 MiB, "read(o->quantity)", readPid, now ] }
Y
}

@test "types: of C headers, with all that they only declare; a stripped host is used by them" {
    bare_shop
    tenon spec types shop.h -- -DQUANTITY=unsigned
    echo "$err"
    [ "$status" -eq 0 ] && [ -z "$err" ]
    [[ $out == "shop.btf: "*" types, 4 functions, 1 variables" ]]
    bpftool btf dump file shop.btf >dump
    grep -q "FUNC 'shop_log'" dump
    grep -q "'level' type_id" dump
    grep -q "VAR 'shop_pid'" dump
    ! grep -q "shop_twice\|tenon_declared" dump
    export TENON_POLICY=$DIR/shop.yaml
    tenon spec check shop.yaml shop
    echo "$err"
    [ "$status" -eq 0 ]
    tenon spec show --json shop
    [ "$(json '{r["name"]: r["prototype"] for r in j}')" = \
        "{'price': 'int (struct order *o)', 'now': 'long int (void)', 'readPid': None}" ]
    tenon spec header shop -o shop.ext.h
    [ "$status" -eq 0 ]
    cat >o.c <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "shop.ext.h"
long seen;
SEC("fentry/" ENTRY_price) __attribute__((btf_decl_tag("eim:class=counting")))
int BPF_PROG(peek, struct order *o)
{
    seen = shop_time() + o->quantity;
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu -c o.c -o o
    tenon verify --host shop o
    echo "$out$err"
    [ "$status" -eq 0 ]
    tenon policy infer --host shop o
    echo "$out$err"
    [ "$status" -eq 0 ]
    [[ $out == *'- "now"'*'- "read(o->quantity)"'* ]]
    tenon policy explain --host shop o counting
    [ "$status" -eq 0 ]
    tenon policy check
    [[ $out == *"not held against types: no file says where its binary is"* ]]
    tenon policy check --host "$DIR/shop" shop.yaml
    [[ $out == *"held against its types"* ]]
}

@test "types: what the compiler says is shown, and what to do; C text in a specification is told the command" {
    bare_shop
    tenon spec types shop.h
    [ "$status" -eq 1 ] && [ ! -e shop.btf ]
    said 'shop.h:2:2: error: #error which quantity?'
    said "(-I, -D, -std) [stub_compile]"
    CC=no-such-compiler tenon spec types shop.h
    [ "$status" -eq 1 ]
    said stub_no_compiler
    tenon spec types nothing.h
    [ "$status" -eq 1 ]
    said "nothing.h: No such file"
    tenon spec types
    [ "$status" -eq 2 ]
    sed -i 's/shop.btf/shop.h/' shop.yaml
    tenon spec check shop.yaml shop
    [ "$status" -eq 1 ]
    said "tenon spec types -o shop.btf shop.h -- FLAGS"
    said "policy_types"
    rm shop.h
    TENON_POLICY=$DIR/shop.yaml tenon verify --host shop "$COUNT"
    [ "$status" -eq 2 ]
    said "tenon spec types -o $DIR/shop.btf $DIR/shop.h -- FLAGS"
}

@test "types: what no compiler of C would link, names that macros hide, Clang, a binary with debug information" {
    cat >odd.h <<'C'
#pragma GCC visibility push(hidden)
int odd_hidden(int x);
extern int odd_variable;
#pragma GCC visibility pop
int odd_object(int x);
#define odd_object something_else
int odd_old();
_Noreturn void odd_end(const char *why, ...);
int odd_body(int x) { return odd_hidden(x); }
C
    tenon spec types -o odd.btf odd.h -- -std=c99 -pedantic-errors -Wl,--no-undefined -Wl,-z,defs
    echo "$err"
    [ "$status" -eq 0 ]
    bpftool btf dump file odd.btf >dump
    for name in odd_hidden odd_object odd_old odd_end; do grep -q "FUNC '$name'" dump; done
    bare_shop
    CC=clang tenon spec types -o clang.btf shop.h -- -DQUANTITY=unsigned
    [ "$status" -eq 0 ]
    said "CC=gcc"
    bpftool btf dump file clang.btf | grep -q "STRUCT 'order' size=32"
    shop -DWHOLE
    tenon spec types shop -o whole.btf
    [ "$status" -eq 0 ]
    bpftool btf dump file whole.btf | grep -q "FUNC 'shop_price'"
    tenon spec types whole.btf -o again.btf
    [ "$status" -eq 1 ]
    said is_types
}

@test "-o: a file is replaced whole; a pipe or a link stays what it is, and a refusal leaves the old file" {
    shop
    mkfifo pipe
    cat pipe >got 3>&- &
    CHILDREN+=($!)
    tenon spec extract shop -o pipe
    [ "$status" -eq 0 ]
    wait $!
    [ -p pipe ]
    grep -q 'extension_entries' got
    ln -s target link
    tenon spec extract shop -o link
    [ -L link ]
    cmp got target
    shop -DSHOP_BROKEN
    tenon spec extract shop -o target
    [ "$status" -eq 1 ]
    cmp got target
    [ "$(ls -d target*)" = target ]
    tenon spec extract shop -o nowhere/file
    [ "$status" -eq 1 ]
}

@test "called wrongly: status 2" {
    tenon spec
    [ "$status" -eq 2 ]
    tenon spec extract
    [ "$status" -eq 2 ]
    tenon spec frobnicate x
    [ "$status" -eq 2 ]
    tenon spec show /nowhere/x
    [ "$status" -eq 1 ]
    printf 'not an ELF file' >text
    tenon spec show text
    [ "$status" -eq 1 ]
    said "$DIR/text: this is no ELF file"
}
