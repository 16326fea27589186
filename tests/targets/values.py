# SPDX-License-Identifier: MIT
"""Structs by value, of every shape, as arguments and as results: read at entries and exits and changed there, in hosts by GCC
and Clang, with and without optimisation.

A shape is a row. Of each there are functions that take it in front, behind what fills the registers, and return it; host
and extensions are written from the rows, and Python says what each of them has to see.
"""
import itertools
import json
import struct as packing

from harness import Attached, Refused, main, need, same, test, until

# name, what stands behind the fields, fields: type, name (with its bits or elements)
SHAPES = [
    ("c1", "", ["signed char a"]),
    ("c2", "", ["short a"]),
    ("c3", "", ["unsigned char a[3]"]),
    ("c4", "", ["int a"]),
    ("by_chance", "PACKED", ["int a", "signed char b"]),
    ("c7", "", ["signed char a[7]"]),
    ("i2", "", ["int a", "unsigned b"]),
    ("l1", "", ["long a"]),
    ("c9", "", ["signed char a[9]"]),
    ("i3", "", ["int a[3]"]),
    ("c15", "", ["unsigned char a[15]"]),
    ("lc", "", ["long a", "signed char b"]),
    ("cl", "", ["signed char a", "long b"]),
    ("l2", "", ["long a", "long b"]),
    ("bits", "", ["unsigned a:5", "unsigned b:20", "long c"]),
    ("odd5", "PACKED", ["signed char a", "int b"]),
    ("odd9", "PACKED", ["signed char a", "long b"]),
    ("odd16", "PACKED", ["int a", "long b", "int c"]),
    ("half16", "ALIGNED(16)", ["long a"]),
    ("l2_16", "ALIGNED(16)", ["long a", "long b"]),
    ("c17", "", ["signed char a[17]"]),
    ("l3", "", ["long a", "long b", "long c"]),
    ("odd17", "PACKED", ["signed char a", "long b", "long c"]),
    ("l3_16", "ALIGNED(16)", ["long a", "long b", "long c"]),
    ("li_32", "ALIGNED(32)", ["long a", "int b"]),
    ("l5", "", ["long a[5]"]),
    ("l8", "", ["long a[8]"]),
    ("named", "", ["char a[2]", "int b", "long c[5]", "short d"]),
]
BITS = {"signed char": 8, "char": 8, "unsigned char": 8, "short": 16, "int": 32, "unsigned": 32, "long": 64}
ALIGN = {"PACKED": 1, "ALIGNED(16)": 16, "ALIGNED(32)": 32}


def fields(shape):
    """Its numbers: how C names each, bits, signed."""
    for text in shape[2]:
        type_, name = text.rsplit(" ", 1)
        signed = not type_.startswith("unsigned")
        if ":" in name:
            yield name.split(":")[0], int(name.split(":")[1]), signed
        elif "[" in name:
            for k in range(int(name.split("[")[1][:-1])):
                yield f"{name.split('[')[0]}[{k}]", BITS[type_], signed
        else:
            yield name, BITS[type_], signed


def size(shape):
    if shape[0] == "bits":
        return 16
    at, widest = 0, 1
    for text in shape[2]:
        bytes_ = BITS[text.rsplit(" ", 1)[0]] // 8
        step = 1 if shape[1] == "PACKED" else bytes_
        widest = max(widest, step)
        at = -(-at // step) * step + bytes_ * (int(text.split("[")[1][:-1]) if "[" in text else 1)
    widest = max(widest, ALIGN.get(shape[1], 1))
    return -(-at // widest) * widest


def in_memory(shape):
    return size(shape) > 16 or shape[0] in ("odd5", "odd9", "odd16")


def words(shape):
    return -(-size(shape) // 8) if size(shape) <= 16 else 1


def wrapped(value, bits, signed):
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def numbers(shape, seed):
    return [wrapped(-(seed * 0x9e3779b97f4a7c15 + k * 0x1234567890abcdf), bits, signed) for k, (_, bits, signed) in enumerate(fields(shape))]


def mixed(values, first=0):
    for value in values:
        first = wrapped(first * 31 + value, 64, True)
    return first


# ------------------------------------------------------------------------------------------------ the host

# name of the function, result ("S" its own), arguments: types, "S" for the shape
FORMS = {
    "in": ("long", ["long", "S", "int"]),
    "late": ("long", ["long", "char", "long", "int", "long", "short", "char", "S", "int"]),
    "out": ("S", ["long", "int"]),
    "both": ("S", ["long", "S", "short"]),
}
FUNCTIONS = [(number, shape, form) for number, (shape, form) in enumerate(itertools.product(SHAPES, FORMS))]


def called(number, shape, form, change=0):
    """What is passed: numbers, and lists of them; `change` is added to each seed."""
    return [numbers(shape, number * 16 + k + 1 + change) if type_ == "S" else wrapped(-(number * 16 + k + 1 + change), BITS[type_], True)
            for k, type_ in enumerate(FORMS[form][1])]


def flat(values):
    return [number for value in values for number in (value if isinstance(value, list) else [value])]


def answered(number, shape, form, change=0):
    """The mix of what the function returns."""
    mix = mixed(flat(called(number, shape, form, change)))
    return mixed(numbers(shape, mix & 0xffff)) if FORMS[form][0] == "S" else mix


def definition(shape, extension):
    words_ = "".join(f"    {text};\n" for text in shape[2])
    return f"struct {shape[0]} {{\n{words_}}} {'' if extension and shape[1] != 'PACKED' else shape[1]};\n"


HEAD = "#define PACKED __attribute__((packed))\n#define ALIGNED(n) __attribute__((aligned(n)))\n"


def host_text():
    text = HEAD + """#include <stdio.h>
#include <string.h>
#define F __attribute__((noinline))
#define SEED(s, k) (-((unsigned long)(s) * 0x9e3779b97f4a7c15ul + (k) * 0x1234567890abcdful))
static void nothing(void) {}
void (*volatile host_anything)(void) = nothing;
#define SPOIL(s) memset(&(s), 0x5a, sizeof(s)); __asm__ volatile("" : : "r"(&(s)) : "memory")
static long mix(long h, long v) { return (long)((unsigned long)h * 31 + (unsigned long)v); }
"""
    for shape in SHAPES:
        name = f"struct {shape[0]}"
        text += definition(shape, False)
        text += f"F void {shape[0]}_make({name} *s, long seed)\n{{\n    memset(s, 0xee, sizeof(*s));\n"
        text += "".join(f"    s->{field} = SEED(seed, {k});\n" for k, (field, _, _) in enumerate(fields(shape))) + "}\n"
        text += f"F long {shape[0]}_mix(long h, const {name} *s)\n{{\n"
        text += "".join(f"    h = mix(h, s->{field});\n" for field, _, _ in fields(shape)) + "    return h;\n}\n"
    for _, shape, form in FUNCTIONS:
        result, args = FORMS[form]
        own = f"struct {shape[0]}"
        params = ", ".join(f"{own if type_ == 'S' else type_} a{k}" for k, type_ in enumerate(args))
        text += f"F {own if result == 'S' else result} {shape[0]}_{form}({params})\n{{\n    long h = 0;\n    host_anything();\n"
        text += "".join(f"    h = {shape[0]}_mix(h, &a{k});\n" if type_ == "S" else f"    h = mix(h, a{k});\n" for k, type_ in enumerate(args))
        text += "".join(f"    SPOIL(a{k});\n" for k, type_ in enumerate(args) if type_ == "S")
        text += f"    {own} s;\n    {shape[0]}_make(&s, h & 0xffff);\n    return s;\n}}\n" if result == "S" else "    return h;\n}\n"
    text += "int main(void)\n{\n    char line[64];\n    setvbuf(stdout, NULL, _IOLBF, 0);\n    while (fgets(line, sizeof(line), stdin)) {\n"
    for number, shape, form in FUNCTIONS:
        result, args = FORMS[form]
        seeds = [number * 16 + k + 1 for k in range(len(args))]
        text += "        {\n"
        text += "".join(f"            struct {shape[0]} a{k};\n            {shape[0]}_make(&a{k}, {seeds[k]});\n" for k, type_ in enumerate(args) if type_ == "S")
        call = f"{shape[0]}_{form}({', '.join(f'a{k}' if type_ == 'S' else f'({type_})-{seeds[k]}l' for k, type_ in enumerate(args))})"
        if result == "S":
            text += f"            struct {shape[0]} r = {call};\n            printf(\"%ld \", {shape[0]}_mix(0, &r));\n"
        else:
            text += f"            printf(\"%ld \", {call});\n"
        text += "        }\n"
    return text + "        printf(\"\\n\");\n    }\n    return 0;\n}\n"


# ------------------------------------------------------------------------------------------- the extensions

SEEN = 64 # numbers that one function's program may keep
EXTENSION = HEAD + """#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
typedef unsigned long word;
#define SEED(s, k) (-((word)(s) * 0x9e3779b97f4a7c15ul + (k) * 0x1234567890abcdful))
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, %d);
    __type(key, __u32);
    __type(value, long);
} seen SEC(".maps");
char _license[] SEC("license") = "GPL";
static __always_inline void keep(__u32 at, long value)
{
    long *slot = bpf_map_lookup_elem(&seen, &at);
    if (slot)
        *slot = value;
}
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
%s#pragma clang attribute pop
"""


def local(shape, at):
    return f"union {{ word w[2]; struct local_{shape[0]} s; }} u{at}"


def read_struct(shape, word, slot, by_address):
    if by_address:
        text = f"        struct {shape[0]} *s = (struct {shape[0]} *)ctx[{word}];\n"
        return "    {\n" + text + "".join(f"        keep({slot + k}, s->{field});\n" for k, (field, _, _) in enumerate(fields(shape))) + "    }\n"
    text = f"        {local(shape, 0)} = {{}};\n" + "".join(f"        u0.w[{w}] = ctx[{word + w}];\n" for w in range(words(shape)))
    return "    {\n" + text + "".join(f"        keep({slot + k}, u0.s.{field});\n" for k, (field, _, _) in enumerate(fields(shape))) + "    }\n"


def write_struct(shape, word, seed, by_address):
    rows = list(enumerate(fields(shape)))
    if by_address:
        text = f"        struct {shape[0]} *s = (struct {shape[0]} *)ctx[{word}];\n"
        return "    {\n" + text + "".join(f"        s->{field} = SEED({seed}, {k});\n" for k, (field, _, _) in rows) + "    }\n"
    text = f"        {local(shape, 0)} = {{}};\n" + "".join(f"        u0.s.{field} = SEED({seed}, {k});\n" for k, (field, _, _) in rows)
    last = 1 if shape[0] == "half16" else words(shape) # nothing is passed in its second word
    return "    {\n" + text + "".join(f"        ctx[{word + w}] = u0.w[{w}];\n" for w in range(last)) + "    }\n"


def places(shape, form):
    """Of each argument, and of the result: its first word."""
    at = 0
    for type_ in FORMS[form][1]:
        yield at
        at += words(shape) if type_ == "S" else 1
    yield at


def reader(number, shape, form, exit_):
    """Reads all arguments, as they were at the entry, and the result."""
    text, slot, wanted = "", number * SEEN, []
    result, args = FORMS[form]
    passed = called(number, shape, form)
    if exit_:
        args = args + [result]
        mix = mixed(flat(passed))
        passed = passed + [numbers(shape, mix & 0xffff) if result == "S" else mix]
    for k, (type_, word, value) in enumerate(zip(args, places(shape, form), passed)):
        of_result = exit_ and k == len(args) - 1
        by_address = type_ == "S" and (size(shape) > 16 or (of_result and in_memory(shape)))
        if type_ == "S":
            text += read_struct(shape, word, slot + len(wanted), by_address)
            wanted += value
        else:
            text += f"    keep({slot + len(wanted)}, ({type_})ctx[{word}]);\n"
            wanted.append(value)
    assert len(wanted) <= SEEN
    return text, wanted


def changer(number, shape, form, exit_):
    """Passes other arguments, or changes the result: those of other seeds."""
    result, args = FORMS[form]
    text, all_ = "", list(places(shape, form))
    if exit_ and result == "S":
        return write_struct(shape, all_[-1], 4711, in_memory(shape))
    if exit_:
        return f"    ctx[{all_[-1]}] = 4711;\n"
    for k, (type_, word) in enumerate(zip(args, all_)):
        seed = number * 16 + k + 2
        text += write_struct(shape, word, seed, size(shape) > 16) if type_ == "S" else f"    ctx[{word}] = -{seed}l;\n"
    return text


def extension_text(make, exit_):
    text = ""
    for number, shape, form in FUNCTIONS:
        body = make(number, shape, form, exit_)
        body = body if isinstance(body, str) else body[0]
        if body:
            text += f"SEC(\"{'fexit' if exit_ else 'fentry'}/{shape[0]}_{form}\")\nint p{number}(word *ctx)\n{{\n{body}    return 0;\n}}\n"
    own = "".join(definition(shape, True) for shape in SHAPES)
    copies = "".join(definition((f"local_{shape[0]}", *shape[1:]), True) for shape in SHAPES)
    return EXTENSION % (len(FUNCTIONS) * SEEN, own) + copies + text, text.count("SEC(")


def build_host(room, cc, flags, text, name="host"):
    need(cc)
    room.write(f"{name}.c", text)
    room.run([cc, "-g", "-w", *flags, room.path(f"{name}.c"), "-o", room.path(name)], seconds=120)
    return room.program_of([room.path(name)])


def build_extension(room, name, text):
    need("clang")
    room.write(f"{name}.bpf.c", text)
    room.run(["clang", "-target", "bpf", "-O2", "-g", "-w", "-I/usr/include/x86_64-linux-gnu", "-c", room.path(f"{name}.bpf.c"),
              "-o", room.path(f"{name}.bpf.o")], seconds=120)
    return room.path(f"{name}.bpf.o")


def attach(room, host, extension, nlinks=1, options=()):
    return Attached(room, [*options, "-p", str(host.pid), extension], nlinks)


def seen(room, link):
    rows = json.loads(room.tenon("map", "dump", str(link.map_ids["seen"]), "--json"))
    return {int(row["key"]): int(row["value"]) for row in rows}


def answers(host):
    return [int(word) for word in host.ask("call", 60).split()]


def hold_all(room, cc, flags):
    host = build_host(room, cc, flags, host_text())
    plain = [answered(*row) for row in FUNCTIONS]
    same(answers(host), plain, "the host by itself")
    for exit_ in (False, True):
        where = "exit" if exit_ else "entry"
        text, n = extension_text(reader, exit_)
        link = attach(room, host, build_extension(room, f"read_{where}", text), n)
        same(answers(host), plain, f"results while it is read at the {where}")
        got = seen(room, link)
        for number, shape, form in FUNCTIONS:
            wanted = reader(number, shape, form, exit_)[1]
            same([got[number * SEEN + k] for k in range(len(wanted))], wanted, f"{shape[0]}_{form} at its {where}")
        same(link.missed(), 0, "missed")
        link.detach()
        text, n = extension_text(changer, exit_)
        link = attach(room, host, build_extension(room, f"change_{where}", text), n)
        for (number, shape, form), is_ in zip(FUNCTIONS, answers(host)):
            if not exit_:
                wanted = answered(number, shape, form, 1)
            elif FORMS[form][0] != "S":
                wanted = 4711
            else:
                wanted = mixed(numbers(shape, 4711))
            same(is_, wanted, f"{shape[0]}_{form} changed at its {where}")
        link.detach()
        same(answers(host), plain, "afterwards")


for compiler, level in itertools.product(("gcc", "clang"), ("-O0", "-O2")):
    test(f"{len(SHAPES)} shapes before, between and behind other arguments, and returned: {compiler} {level}", seconds=240)(
        lambda room, compiler=compiler, level=level: hold_all(room, compiler, [level]))


# ------------------------------------------------------------------------------------------- what is refused

OTHERS = HEAD + """#include <stdio.h>
#define F __attribute__((noinline))
typedef long vector __attribute__((vector_size(16)));
static void nothing(void) {}
void (*volatile host_anything)(void) = nothing;
struct real { double d; long n; };
struct half { float a, b; };
struct both { union { double d; long n; } u; };
struct many { double d[3]; long n; };
struct lanes { vector v; };
struct gap { long a; long : 64; };
struct big { long a, b, c; };
struct pair { long a, b; };
F long of_real(int a, struct real s) { host_anything(); return a + s.n; }
F long of_half(struct half s) { host_anything(); return (long)s.a; }
F long of_both(struct both s) { host_anything(); return s.u.n; }
F long of_many(struct many s, int a) { host_anything(); return s.n + a; }
F long of_lanes(struct lanes s) { host_anything(); return s.v[1]; }
F long of_gap(struct gap s, int a) { host_anything(); return s.a + a; }
F long of_big(struct big s, int a) { host_anything(); return s.a + s.b + s.c + a; }
F struct half to_half(int a) { host_anything(); return (struct half){(float)a, 0}; }
F struct big to_big(int a) { host_anything(); return (struct big){a, a + 1, a + 2}; }
F struct pair to_pair(int a) { host_anything(); return (struct pair){a, -a}; }
F struct pair through(long a, long b, long c) { return (struct pair){a, c}; }
F struct lanes to_lanes(int a) { host_anything(); return (struct lanes){{a, a}}; }
int main(void)
{
    char line[64];

    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin))
        printf("%ld %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld\\n", of_real(1, (struct real){2, 3}), of_half((struct half){4, 5}),
               of_both((struct both){.u.n = 6}), of_many((struct many){{1, 2, 3}, 7}, 8), of_lanes((struct lanes){{9, 10}}),
               of_gap((struct gap){11}, 12), of_big((struct big){13, 14, 15}, 16), (long)to_half(17).a, to_big(18).c, to_pair(19).b,
               to_lanes(20).v[0], through(21, 22, 23).b);
    return 0;
}
"""
PLAIN = [4, 4, 6, 15, 10, 23, 58, 17, 20, -19, 20, 23]
TYPES = "struct big { long a, b, c; };\nstruct pair { long a, b; };\nstruct many { double d[3]; long n; };\n"
OWN = "extern void tenon_replace(void *ctx, word v) __attribute__((section(\".ksyms\")));\n"

# section, what the program does, what it is refused with
REFUSALS = [
    ("fentry/of_real", "keep(0, ctx[0]);", ["argument_not_integer", "argument 2 (s) of of_real has floating point"]),
    ("fentry/of_half", "keep(0, 1);", ["argument_not_integer", "floating point"]),
    ("fentry/of_lanes", "keep(0, ctx[0]);", ["param_vector"]),
    ("fentry/to_lanes", "keep(0, ctx[0]);", ["param_vector"]),
    ("fexit/to_half", "keep(0, ctx[1]);", ["result_not_integer", "to_half returns floating point"]),
    ("fexit/of_big", "((struct big *)ctx[0])->a = 5;", ["only read is supported"]),
    ("fexit/of_big", "ctx[0] = 5;", ["as the call returns: what changes there is the result"]),
    ("fexit/of_big", "keep(0, ((long *)ctx[0])[3]);", ["access beyond struct big"]),
    ("fexit/of_big", "keep(0, ((int *)ctx)[0]);", ["size 4 must be 8"]),
    ("fentry/of_big", "keep(0, ((int *)ctx)[0]);", ["size 4 must be 8"]),
    ("fentry/of_big", "ctx[0] = 5;", ["what changes are its fields"]),
    ("fentry/of_big", "keep(0, ((long *)ctx[0])[3]);", ["access beyond struct big"]),
    ("fentry/of_big", "keep(0, ctx[2]);", ["doesn't have 3-th argument"]),
    ("fexit/to_big", "ctx[1] = 5;", ["what changes are its fields"]),
    ("fexit/to_big", "((long *)ctx[1])[3] = 5;", ["access beyond struct big"]),
    ("fexit/to_big", "tenon_replace(ctx, 5);", ["result_not_integer"]),
    ("fentry/to_pair", "tenon_replace(ctx, 5);", ["result_not_integer"]),
    ("fmod_ret/to_pair", "keep(0, ctx[0]);", ["to_pair return type STRUCT is unsupported"]),
    ("fmod_ret/to_big", "keep(0, ctx[0]);", ["to_big return type STRUCT is unsupported"]),
]
# … and what is not: and what was seen
ADMITTED = [
    ("fentry/to_half", "keep(0, (int)ctx[0]);", 17),
    ("fentry/of_both", "keep(0, ctx[0]);", 6),
    ("fentry/of_many", "keep(0, ((struct many *)ctx[0])->n * 100 + (int)ctx[1]);", 708),
    ("fexit/of_big", "keep(0, ctx[2] * 100 + (int)ctx[1]);", 5816),
    ("fentry/of_big", "keep(0, ((struct big *)ctx[0])->b * 100 + (int)ctx[1]);", 1416),
    ("fexit/to_big", "keep(0, ((struct big *)ctx[1])->b * 100 + (int)ctx[0]);", 1918),
    ("fexit/to_pair", "keep(0, ctx[2] * 100 + (int)ctx[0]);", -1881),
    ("fexit/through", "ctx[4] = 5;", 0), # in a register that the function leaves as it is
]


def one(room, name, section, body, types=TYPES):
    text = EXTENSION % (SEEN, types) + OWN + f"SEC(\"{section}\")\nint p(word *ctx)\n{{\n    {body}\n    return 0;\n}}\n"
    return build_extension(room, name, text)


def refuse(room, host, extension, words_, options=()):
    try:
        attach(room, host, extension, options=options).detach()
    except Refused as refusal:
        for word in words_:
            assert word in str(refusal), f"no {word!r} in\n{refusal}"
        return
    raise AssertionError(f"admitted, instead of {words_}")


@test("floating point, vectors, what types do not tell, answers that are structs: refused by name; what is beside them is not", seconds=180)
def _(room):
    host = build_host(room, "gcc", ["-O2"], OTHERS)
    for number, (section, body, words_) in enumerate(REFUSALS):
        refuse(room, host, one(room, f"refused{number}", section, body), words_)
    for number, (section, body, wanted) in enumerate(ADMITTED):
        link = attach(room, host, one(room, f"admitted{number}", section, body))
        same(answers(host), [*PLAIN[:-1], 5 if section == "fexit/through" else PLAIN[-1]], section)
        same(seen(room, link)[0], wanted, f"{section}: {body}")
        link.detach()


@test("vectors in structs, and bitfields without a name, are found without optimisation, too, and by both compilers", seconds=120)
def _(room):
    for number, (cc, level) in enumerate(itertools.product(("gcc", "clang"), ("-O0", "-O2"))):
        host = build_host(room, cc, [level], OTHERS, f"host{number}")
        for function in ("of_lanes", "to_lanes"):
            refuse(room, host, one(room, function, f"fentry/{function}", "keep(0, ctx[0]);"), ["param_vector"])
        # One of the two passes the bitfield, and says so where it optimises.
        refuse(room, host, one(room, "gap", "fentry/of_gap", "keep(0, ctx[0]);"),
               ["[param_moved]"] if (cc, level) == ("gcc", "-O2") else ["[layout_not_told]", "argument 1 (s) of of_gap"])
        same(answers(host), PLAIN)


CLASSES = """#include <cstdio>
#define F extern "C" __attribute__((noinline))
static void nothing() {}
void (*volatile host_anything)() = nothing;
struct empty {};
struct plain { long a, b, c; };
struct derived : plain { long d; };
struct owner { long a; ~owner() { host_anything(); } };
F long of_empty(int a, empty e, int b) { host_anything(); return a * 10 + b; }
F long of_plain(plain s, int b) { host_anything(); return s.c * 10 + b; }
F long of_derived(derived s, int b) { host_anything(); return s.d * 10 + b; }
F long of_owner(owner s, int b) { host_anything(); return s.a * 10 + b; }
F long of_reference(const derived &s, int b) { host_anything(); return s.d * 10 + b; }
F plain to_plain(int a) { host_anything(); return plain{a, a, a + 1}; }
F owner to_owner(int a) { host_anything(); return owner{a}; }
int main()
{
    char line[64];
    derived d;

    setvbuf(stdout, nullptr, _IOLBF, 0);
    d.a = d.b = d.c = 1;
    d.d = 5;
    while (fgets(line, sizeof(line), stdin))
        printf("%ld %ld %ld %ld %ld %ld %ld\\n", of_empty(1, empty{}, 2), of_plain(plain{1, 2, 3}, 4), of_derived(d, 6), of_owner(owner{7}, 8),
               of_reference(d, 9), to_plain(10).c, to_owner(12).a);
    return 0;
}
"""
# What a program sees in each; and of which compiler's it is refused, by which name.
OF_CLASSES = [
    ("fentry/of_empty", "keep(0, (int)ctx[0] * 100 + ctx[1] * 10 + (int)ctx[2]);", 102, {}),
    ("fentry/of_plain", "keep(0, ((struct plain *)ctx[0])->c * 100 + (int)ctx[1]);", 304, {}),
    ("fentry/of_derived", "keep(0, ((struct derived *)ctx[0])->d * 100 + (int)ctx[1]);", 506, {"g++": "param_by_reference"}),
    ("fentry/of_owner", "keep(0, ctx[0]);", 0, {"g++": "param_by_reference", "clang++": "param_by_reference"}),
    ("fentry/of_reference", "keep(0, ((struct derived *)ctx[0])->d * 100 + (int)ctx[1]);", 509, {}),
    ("fexit/to_plain", "keep(0, ((struct plain *)ctx[1])->c * 100 + (int)ctx[0]);", 1110, {}),
    ("fexit/to_owner", "keep(0, ctx[1]);", 0, {"g++": "param_by_reference", "clang++": "param_by_reference"}),
]


@test("classes of C++: empty ones, with bases, with destructors", seconds=120)
def _(room):
    for number, (cc, level) in enumerate(itertools.product(("g++", "clang++"), ("-O0", "-O2"))):
        host = build_host(room, cc, [level, "-x", "c++"], CLASSES, f"host{number}")
        plain = answers(host)
        same(plain, [12, 34, 56, 78, 59, 11, 12])
        for section, body, wanted, refused in OF_CLASSES:
            types = "struct plain { long a, b, c; };\nstruct derived { long a, b, c, d; };\n"
            extension = one(room, "class", section, body, types)
            if cc in refused:
                refuse(room, host, extension, [f"[{refused[cc]}]"])
                continue
            link = attach(room, host, extension)
            same(answers(host), plain, section)
            same(seen(room, link)[0], wanted, f"{cc} {level}: {section}")
            link.detach()


# ------------------------------------------------------------------------- what an exit is shown of the stack

KEPT_TYPES = """struct big { long a, b, c; };
struct nested { int n; struct { struct big s; char t[3]; } in[2]; };
struct most { long a[32]; };
struct more { long a[32]; char b; };
struct huge { long a[512]; };
"""
KEPT = HEAD + """#include <stdio.h>
#include <string.h>
#define F __attribute__((noinline))
static void nothing(void) {}
void (*volatile host_anything)(void) = nothing;
#define SPOIL(s) memset(&(s), 0x5a, sizeof(s)); __asm__ volatile("" : : "r"(&(s)) : "memory")
""" + KEPT_TYPES + """
F long of_two(struct big s, int x, struct most m) { long h = s.a + s.c + x + m.a[0] + m.a[31]; host_anything(); SPOIL(s); SPOIL(m); return h; }
F long of_pair(struct big s, struct big t) { long h = s.a + t.c; host_anything(); SPOIL(s); SPOIL(t); return h; }
F long of_nested(struct nested s) { long h = s.n + s.in[1].s.b + s.in[1].t[2]; host_anything(); SPOIL(s); return h; }
F long of_most(struct most s) { long h = s.a[0] + s.a[31]; host_anything(); SPOIL(s); return h; }
F long of_more(struct more s) { long h = s.a[0] + s.b; host_anything(); SPOIL(s); return h; }
F long of_huge(struct huge s) { long h = s.a[0] + s.a[511]; host_anything(); SPOIL(s); return h; }
F long of_any(struct big s, ...) { host_anything(); return s.b; }
long (*volatile host_deep)(struct big, int);
F long deep(struct big s, int n)
{
    long h = s.b + (n ? host_deep((struct big){s.a + 1, s.b + 2, s.c + 3}, n - 1) : 0);
    SPOIL(s);
    return h;
}
int main(void)
{
    char line[64];
    struct nested n = {1};
    struct most m = {{2}};
    struct more more = {{3}, 4};
    struct huge huge = {{5}};

    n.in[1].s.b = 60, n.in[1].t[2] = 7, m.a[31] = 800, huge.a[511] = 9;
    host_deep = deep;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin))
        printf("%ld %ld %ld %ld %ld %ld %ld %ld\\n", of_two((struct big){10, 11, 12}, 13, m), of_pair((struct big){14}, (struct big){15, 16, 17}),
               of_nested(n), of_most(m), of_more(more), of_huge(huge), of_any((struct big){18, 19, 20}, 21), host_deep((struct big){1, 10, 100}, 3));
    return 0;
}
"""
KEPT_PLAIN = [10 + 12 + 13 + 2 + 800, 14 + 17, 68, 802, 7, 14, 19, 10 + 12 + 14 + 16]
NOT_KEPT = [
    ("fexit/of_huge", "keep(0, ((struct huge *)ctx[0])->a[0]);", ["arg0 is a struct in memory, of which 256 bytes are kept for an exit", "fentry"]),
    ("fexit/of_more", "keep(0, ((struct more *)ctx[0])->a[0]);", ["of which 256 bytes are kept"]),
    ("fexit/of_two", "keep(0, ((struct big *)ctx[0])->a + ((struct most *)ctx[2])->a[0]);", ["arg2 is a struct in memory, of which 256 bytes are kept"]),
    ("fexit/of_two", "keep(0, ((struct most *)ctx[2])->a[0] + ((struct big *)ctx[0])->a);", ["of which 256 bytes are kept"]),
    ("fexit/of_any", "keep(0, ((struct big *)ctx[0])->a);", ["variable"]),
]
# what the program adds to what it has kept; and all of it
SHOWN = [
    ("fexit/of_two", "((struct big *)ctx[0])->c * 1000 + ctx[1] * 100 + ((struct big *)ctx[0])->a", 12000 + 1300 + 10),
    ("fexit/of_two", "((struct most *)ctx[2])->a[31] * 100 + (int)ctx[1]", 80013),
    ("fexit/of_pair", "((struct big *)ctx[1])->c * 10000 + ((struct big *)ctx[1])->a * 100 + ((struct big *)ctx[0])->a", 171514),
    ("fexit/of_pair", "((struct big *)ctx[1])->b", 16),
    ("fexit/of_nested", "((struct nested *)ctx[0])->in[1].s.b * 100 + ((struct nested *)ctx[0])->in[1].t[2]", 6007),
    ("fexit/of_most", "((struct most *)ctx[0])->a[31] + ((struct most *)ctx[0])->a[0]", 802),
    ("fexit/of_huge", "ctx[1]", 14), # the result, beside what is not kept
    ("fentry/of_huge", "((struct huge *)ctx[0])->a[511]", 9),
    ("fexit/deep", "((struct big *)ctx[0])->a * ((struct big *)ctx[0])->c * 1000 + ctx[2]", # innermost first
     (100 + 2 * 103 + 3 * 106 + 4 * 109) * 1000 + 16 + (16 + 14) + (16 + 14 + 12) + (16 + 14 + 12 + 10)),
]


def kept_at_exits(room, cc, level):
    host = build_host(room, cc, [level], KEPT)
    for number, (section, body, words_) in enumerate(NOT_KEPT):
        refuse(room, host, one(room, f"not_kept{number}", section, body, KEPT_TYPES), words_)
    for number, (section, expression, wanted) in enumerate(SHOWN):
        add = f"__u32 at = 0; long *sum = bpf_map_lookup_elem(&seen, &at); if (sum) *sum += {expression};"
        link = attach(room, host, one(room, f"shown{number}", section, add, KEPT_TYPES))
        same(answers(host), KEPT_PLAIN, section)
        same(seen(room, link)[0], wanted, f"{section}: {expression}")
        same(link.missed(), 0, "missed")
        link.detach()
    same(answers(host), KEPT_PLAIN, "afterwards")


for compiler, level in itertools.product(("gcc", "clang"), ("-O0", "-O2")):
    test(f"an exit is shown structs on the stack as the entry found them, up to a bound, nested and by two: {compiler} {level}", seconds=240)(
        lambda room, compiler=compiler, level=level: kept_at_exits(room, compiler, level))


# ------------------------------------------------------------------------------------------------- classes

POLICY = """
eim: 1
host: { name: host }
extension_entries:
  - { name: taking, extension_entry: of_big }
  - { name: giving, extension_entry: to_big }
extension_classes:
"""
# entry, section, what the program does, what it needs beside
NEEDS = [
    ("taking", "fentry/of_big", "keep(0, ((struct big *)ctx[0])->b);", "read(s.b)"),
    ("taking", "fentry/of_big", "((struct big *)ctx[0])->c = 5;", "write(s.c)"),
    ("taking", "fexit/of_big", "keep(0, ((struct big *)ctx[0])->b);", "read(s.b)"),
    ("giving", "fexit/to_big", "keep(0, ((struct big *)ctx[1])->c);", "read(rtn.c)"),
    ("giving", "fexit/to_big", "((struct big *)ctx[1])->c = 5;", "write(rtn.c)"),
]


@test("a class names fields of a struct in memory: s.b, rtn.c; each is refused by its name, inferred, and enough", seconds=120)
def _(room):
    host = build_host(room, "gcc", ["-O2"], OTHERS)
    for number, (entry, section, body, need_) in enumerate(NEEDS):
        extension = one(room, f"needs{number}", section, body)
        beside = ["read(s.a)", "write(s.a)"] if entry == "taking" else ["read(rtn.a)", "write(rtn.a)", "replace"]
        for others, admitted in ((beside, False), ([need_], True), ([need_.split(".")[0] + ")"], True)):
            allowed = ", ".join(f'"{cap}"' for cap in ["instructions < 1000", "memory < inf", "helpers(shared)", *others])
            room.env["TENON_POLICY"] = room.write(
                "policy.yaml", f"{POLICY}  - {{ name: c, extension_entry: {entry}, allowed: [ {allowed} ] }}\n")
            room.tenon("detach", "--all")
            if not admitted:
                refuse(room, host, extension, [f"needs  {need_}"], ["--class", "c"])
                continue
            link = attach(room, host, extension, options=["--class", "c"])
            changed = {"write(s.c)": (6, 5 + 13 + 14 + 16), "write(rtn.c)": (8, 5)}.get(need_, (None, 0))
            same(answers(host), [changed[1] if k == changed[0] else value for k, value in enumerate(PLAIN)])
            inferred = room.tenon("policy", "infer", extension, "--host", room.path("host"), "--entry", entry)
            assert f'"{need_}"' in inferred, inferred
            same(seen(room, link)[0], {"read(s.b)": 14, "read(rtn.c)": 20}.get(need_, 0), need_)
            link.detach()


HOLDER_TYPES = "struct item { long n; };\nstruct holder { struct item *p; long a, b; };\n"
HOLDER = HEAD + "#include <stdio.h>\nstatic void nothing(void) {}\nvoid (*volatile host_anything)(void) = nothing;\n" + HOLDER_TYPES + """
__attribute__((noinline)) struct holder hold(struct holder h) { host_anything(); return h; }
int main(void)
{
    static struct item one = {7};
    char line[64];

    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin))
        printf("%ld\\n", hold((struct holder){&one, 1, 2}).p->n);
    return 0;
}
"""
HOLDING = """
eim: 1
host: { name: host }
extension_entries:
  - { name: holding, extension_entry: hold, constraints: [ "valid(h.p)" ] }
extension_classes:
  - { name: c, extension_entry: holding, allowed: [ "instructions < 1000", "memory < inf", "helpers(shared)", "read(h)", "read(rtn)",
      "read(h.p->n)", "write(h.p->n)", "read(rtn.p->n)", "write(rtn.p->n)", "write(rtn.a)" ] }
"""


@test("what an entry promises of a type's pointers holds no more for the result at its exit, which is there itself", seconds=60)
def _(room):
    host = build_host(room, "gcc", ["-O2"], HOLDER)
    room.env["TENON_POLICY"] = room.write("policy.yaml", HOLDING)
    store = "struct item *i = ((struct holder *)ctx[%d])->p; if (i) i->n = 5;"
    refuse(room, host, one(room, "late", "fexit/hold", store % 1, HOLDER_TYPES), ["only read is supported"], ["--class", "c"])
    refuse(room, host, one(room, "copied", "fexit/hold", store % 0, HOLDER_TYPES), ["only read is supported"], ["--class", "c"])
    for name, section, body, wanted in (
            ("read", "fexit/hold", "keep(0, ((struct holder *)ctx[0])->p->n * 10 + ((struct holder *)ctx[1])->p->n);", 7),
            ("beside", "fexit/hold", "((struct holder *)ctx[1])->a = 5;", 7),
            ("early", "fentry/hold", store % 0, 5)):
        link = attach(room, host, one(room, name, section, body, HOLDER_TYPES), options=["--class", "c"])
        same(answers(host), [wanted], name)
        same(seen(room, link)[0], 77 if name == "read" else 0, name)
        link.detach()


if __name__ == "__main__":
    main()
