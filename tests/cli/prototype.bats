#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Functions of a stripped host that only a specification tells the prototype of: typed entries and calls, live.

load common
setup() {
    common_setup
    export XDG_CACHE_HOME=$DIR/cache TENON_POLICY=$DIR/policy.yaml
    cd "$DIR" || return
}
teardown() { common_teardown; }

# A host that obeys lines "NUMBER"; its header has types, and no function.
host_c() {
    cat >host.h <<'C'
struct pair { int a; unsigned b; };
struct big { long x[3]; };
struct order { struct pair pair; long quantity; };
C
    cat >host.c <<'C'
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include "host.h"
#define F __attribute__((noinline))
long runs;
F long host_twice(long n) { runs++; __asm__ volatile("" ::: "memory"); return 2 * n; }
F int host_order(struct order *o, int level) { runs++; __asm__ volatile("" ::: "memory"); return (int)o->quantity + level; }
F int host_pair(struct pair p, int more) { runs++; __asm__ volatile("" ::: "memory"); return p.a + (int)p.b + more; }
F double host_half(double d) { runs++; __asm__ volatile("" ::: "memory"); return d / 2; }
F struct big host_big(int x) { runs++; return (struct big){{x, x, x}}; }
F int host_many(const char *f, ...) { va_list l; int n; va_start(l, f); n = va_arg(l, int); va_end(l); runs++; return n; }
static F int host_inside(struct order *o) { runs++; __asm__ volatile("" ::: "memory"); return (int)o->quantity; }
int main(void)
{
    struct order o = {{1, 2}, 0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (scanf("%ld", &o.quantity) == 1) {
        int sum = host_order(&o, 3) + host_pair((struct pair){(int)o.quantity, 4}, 5) + host_inside(&o);
        sum += (int)host_twice(1) + (int)host_half(4.0) + (int)host_big(1).x[2] + host_many("", 6);
        printf("%d\n", sum);
    }
    return 0;
}
C
    ${CC:-cc} -O2 -g "$@" host.c -o host
}

run_host() {
    mkfifo ask
    ./host <ask >answer 3>&- &
    HOST=$!
    CHILDREN+=("$HOST")
    exec 8>ask
}

tell() {
    local lines
    lines=$(wc -l <answer)
    echo "$1" >&8
    for _ in $(seq 100); do
        [ "$(wc -l <answer)" -gt "$lines" ] && return 0
        sleep 0.05
    done
    return 1
}

program() {
    printf '%s\n' '#include <linux/bpf.h>' '#include <bpf/bpf_helpers.h>' '#include <bpf/bpf_tracing.h>' '#define __ksym __attribute__((section(".ksyms")))' \
        '#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)' '#include "host.h"' \
        '#pragma clang attribute pop' 'extern long host_twice(long n) __ksym;' 'extern double host_half(double d) __ksym;' \
        'struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, long); } got SEC(".maps");' \
        'static void say(long n) { int k = 0; bpf_map_update_elem(&got, &k, &n, 0); }' \
        "SEC(\"$1\") int program(unsigned long long *ctx) { $2 return 0; }" 'char LICENSE[] SEC("license") = "GPL";' >o.c
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c o.c -o o.bpf.o
}

policy() { # BODY…: lines of function_capabilities and extension_entries
    printf '%s\n' 'eim: 1' "host: { name: host, types: host.btf }" "$@" >policy.yaml
}

# The class c of an entry, with what it may do besides counting: a file that names a host governs it.
class() { # ENTRY [CAPABILITY…]
    local entry=$1
    shift
    printf 'extension_classes:\n  - { name: c, extension_entry: %s, allowed: [ instructions < 1000, memory < 1 MiB, helpers(shared)' "$entry"
    [ $# = 0 ] || printf ', "%s"' "$@"
    printf ' ] }'
}

OFFERED='function_capabilities:
  - { name: twice, function: host_twice, prototype: "long (long n)", constraints: [ "n < 100" ] }
extension_entries:
  - { name: order, extension_entry: host_order, prototype: "int (struct order *o, int level)", constraints: [ "nonnull(o)" ] }'

@test "an entry and a function of a stripped host, by their prototypes in the specification alone" {
    host_c -rdynamic
    strip host
    tenon spec types host.h
    [[ $out == *" 0 functions, 0 variables" ]]
    policy "$OFFERED" 'extension_classes:' '  - { name: c, extension_entry: order, allowed: [ instructions < 1000, memory < 1 MiB,' \
        '      "read(o->quantity)", read(level), twice, helpers(shared) ] }'
    tenon spec check policy.yaml host
    echo "$err"
    [ "$status" -eq 0 ]
    tenon spec header host
    [[ $out == *"extern long int host_twice(long int n) __ksym;"* || $out == *"extern long host_twice(long n) __ksym;"* ]]
    run_host
    program fentry/host_order 'struct order *o = (void *)ctx[0]; long q = o->quantity; if (q > 0 && q < 50) say(host_twice(q) + (int)ctx[1]);'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    echo "$err"
    [ "$status" -eq 0 ]
    tell 21
    tenon map lookup got 0
    [ "$out" = 45 ] # 2 * 21 + 3
    tenon detach --all
    # The condition that the specification states is proved as it is of any function.
    program fentry/host_order 'say(host_twice((int)ctx[1]));'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    [ "$status" -eq 1 ]
    said 'n < 100'
}

@test "a name that is not there is refused with the nearest; a prototype that changes is another host" {
    host_c -rdynamic
    strip host
    tenon spec types host.h
    run_host
    policy "${OFFERED//host_order/host_ordre}" "$(class order "read(level)")"
    program fentry/host_order 'say((int)ctx[1]);'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    [ "$status" -eq 1 ]
    said "policy.yaml:6:37: $DIR/host has no function \"host_ordre\""
    said 'did you mean "host_order"?'
    tenon spec check policy.yaml host
    [ "$status" -eq 1 ]
    said 'did you mean "host_order"?'
    # With one argument less, there is one word less.
    policy "${OFFERED//, int level/}" "$(class order "read(o->quantity)")"
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    [ "$status" -eq 1 ]
    policy "$OFFERED" "$(class order "read(level)")"
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    echo "$err"
    [ "$status" -eq 0 ]
    tell 1
    tenon map lookup got 0
    [ "$out" = 3 ]
}

@test "the types have the function as well: the two have to agree" {
    host_c -rdynamic
    strip host
    echo 'int host_order(struct order *o, int level);' >>host.h
    tenon spec types host.h
    [[ $out == *" 1 functions, 0 variables" ]]
    policy "$OFFERED"
    tenon spec check policy.yaml host
    [ "$status" -eq 0 ]
    policy "${OFFERED//int level/long level}"
    tenon spec check policy.yaml host
    [ "$status" -eq 1 ]
    said "argument 2 is a number of 8 bytes here, and a int in the host's own types of host_order"
}

@test "by value: as the ABI passes it; a result in memory; floating point, variable arguments: refused by name" {
    host_c -rdynamic
    strip host
    tenon spec types host.h
    run_host
    entry() { policy 'extension_entries:' "  - { name: e, extension_entry: $1, prototype: \"$2\" }" "$(class e "${@:3}")"; }
    entry host_pair 'int (struct pair p, int more)' 'read(p)' 'read(more)'
    program fentry/host_pair 'say((int)ctx[0] * 1000000 + (ctx[0] >> 32) * 1000 + (int)ctx[1]);'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    echo "$err"
    [ "$status" -eq 0 ]
    tell 7
    tenon map lookup got 0
    [ "$out" = 7004005 ]
    tenon detach --all
    entry host_half 'double (double d)'
    program fentry/host_half 'say(1);'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    [ "$status" -eq 1 ]
    said "host_half return type FLOAT is unsupported"

    entry host_big 'struct big (int x)' 'read(x)' 'read(rtn.x[2])'
    program fexit/host_big 'say((int)ctx[0] * 1000 + ((struct big *)ctx[1])->x[2]);'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    echo "$err"
    [ "$status" -eq 0 ]
    tell 8
    tenon map lookup got 0
    [ "$out" = 1001 ]
    tenon detach --all
    program fexit/host_big 'say(((struct big *)ctx[1])->x[1]);'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    [ "$status" -eq 1 ]
    said 'needs  read(rtn.x[1])'
    entry host_many 'int (const char *f, ...)'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    [ "$status" -eq 1 ]
    said "functions with a variable number of arguments cannot be called safely"
    # A call of one that takes them.
    policy 'function_capabilities:' '  - { name: half, function: host_half, prototype: "double (double d)" }' \
        'extension_entries:' '  - { name: order, extension_entry: host_order, prototype: "int (struct order *o, int level)" }' \
        "$(class order half)"
    program fentry/host_order 'host_half(1);'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    echo "$err"
    [ "$status" -eq 1 ]
    said "host_half"
}

@test "what spec extract wrote finds a function that has no symbol any more, in that build and no other" {
    cat >>notes.h <<'C'
#include <tenon/eim.h>
EIM_ENTRY(inside, host_inside, "nonnull(o)");
EIM_FUNCTION(twice, host_twice, "n < 100");
C
    host_c -O0 -include notes.h -I"$SOURCE/include"
    tenon spec extract host -o extracted.yaml
    echo "$err"
    [ "$status" -eq 0 ]
    grep -q "address: \"0x$(nm host | sed -n 's/^0*\([0-9a-f]*\) t host_inside$/\1/p')\"" extracted.yaml
    tenon spec types host
    cp host whole
    strip host
    sed "s|^host: { |&types: host.btf, |" extracted.yaml >policy.yaml
    class inside "read(o->quantity)" twice >>policy.yaml
    tenon spec check policy.yaml host
    echo "$err"
    [ "$status" -eq 0 ]
    run_host
    program fentry/host_inside 'struct order *o = (void *)ctx[0]; say(host_twice(o->quantity & 63));'
    tenon attach --keep --class c -p "$HOST" o.bpf.o
    echo "$err"
    [ "$status" -eq 0 ]
    tell 9
    tenon map lookup got 0
    [ "$out" = 18 ]
    tenon detach --all
    # A prototype by hand does not say how the compiler left a function that only its own file calls.
    policy 'extension_entries:' '  - { name: inside, extension_entry: host_inside, prototype: "int (struct order *o)" }'
    cp whole host2
    strip -K host_inside -K host_order host2
    tenon spec check policy.yaml host2
    [ "$status" -eq 1 ]
    said "[param_unknown]"
    # Another build has something else there.
    sed "s|^host: { |&types: host.btf, |" extracted.yaml >policy.yaml
    class inside "read(o->quantity)" twice >>policy.yaml
    host_c -O1 -include notes.h -I"$SOURCE/include"
    strip host
    tenon verify --host host o.bpf.o
    [ "$status" -eq 2 ]
    said "[other_build]"
    said "policy.yaml:"
    tenon spec check policy.yaml host
    [ "$status" -eq 1 ]
    said "[other_build]"
    # An address that holds no code.
    sed "s|^host: { |&types: host.btf, |; s/address: .*/address: \"0x10\"/" extracted.yaml >policy.yaml
    class inside "read(o->quantity)" twice >>policy.yaml
    cp whole bare && strip bare
    tenon verify --host bare o.bpf.o
    sed -i 's/name: host,/name: bare,/; s|binary: "[^"]*"|binary: "'"$DIR/bare"'"|' policy.yaml
    sleep 0.3
    tenon verify --host bare o.bpf.o
    [ "$status" -eq 2 ]
    said "no code of $DIR/bare is at 0x10"
}
