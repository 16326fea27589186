/* SPDX-License-Identifier: MIT */
/*
 * Each kind of capability by each way of access: programs are put together from the two, verified under a class
 * that grants what is needed and under one that does not.
 *
 *      prologue of the way       gets the object into r6: at once, spilt, as a parameter, in a callback …
 *      what the kind does        with the object in r6; or a function is handed the place, or what was read there
 *
 * Of each pair: the first class admits it, the second refuses it and names what is missing; one capability more,
 * whichever, refuses nothing; the class inferred of it admits it, and is refused without any one of its rows.
 *
 * Bitfields, unions, and elements of arrays by an index that a map tells are ways, too; what goes them are kinds
 * of their own here (`shape`), which go all the other ways as well. A pair that no class admits, since the verifier
 * refuses it always, stands in never(), with what it says; where a kind and a way have nothing to do with each
 * other, absent[] says why. The table at the end has a number of pairs, or a reason, in each place.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <tenon/extension.h>

#include "eim/ask.h"
#include "tests/eim/classes.h"
#include "tests/eim/func_types.h"
#include "tests/eim/host.h"
#include "verify/cfg.h"

#include "tests/verify/asm.h" /* behind what it has short words for */

#define SPEC                                                                                                 \
    HOST_SPEC_WITH("- { name: takeNumber, function: take }\n"                                                \
                   "- { name: emitNumber, function: emit, constraints: [ IO ] }\n"                           \
                   "- { name: peekMethod, function: peek, constraints: [ \"reads(r->method)\" ] }\n"         \
                   "- { name: fillBytes, function: fill, constraints: [ \"sized(to, n)\" ] }\n")

/* In place of ids, which are known when the types are. */
enum {
    FINISH = -1,
    COPY = -2,
    PID = -3,
    CYCLE = -4,
    LAST = -5,
    LIMITS = -6,
    TENON_COPY = -7,
    TAKE = -8,
    EMIT = -9,
    PEEK = -10,
    FILL = -11,
    TENON_REPLACE = -12,
    POOL = -13
};
static const struct {
    const char *name;
    u32 kind;
} symbols[] = {{"", 0},
               {"finish", BTF_KIND_FUNC},
               {"copy", BTF_KIND_FUNC},
               {"pid", BTF_KIND_VAR},
               {"the_cycle", BTF_KIND_VAR},
               {"last_connection", BTF_KIND_VAR},
               {"limits", BTF_KIND_VAR},
               {"tenon_copy", BTF_KIND_FUNC},
               {"take", BTF_KIND_FUNC},
               {"emit", BTF_KIND_FUNC},
               {"peek", BTF_KIND_FUNC},
               {"fill", BTF_KIND_FUNC},
               {"tenon_replace", BTF_KIND_FUNC},
               {"pool", BTF_KIND_VAR}};
#define FUNCTION(name)  INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, name)
#define SYMBOL(d, name) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_BTF_ID, 0, name), INSN(0, 0, 0, 0, 0)

/* ------------------------------------------------------------------------------------------------- kinds */

/* How the object comes to r6: from the context in r1. …_AT: moved to an element whose number a map has. */
enum base {
    CONTEXT,
    REQUEST,
    CONNECTION,
    VARIABLE,
    NUMBERS,
    STRUCTURE,
    FOLLOWED,
    REQUEST_AT,
    ROW_AT,
    NUMBERS_AT,
    POOL_AT,
    OPEN_AT,
    DEFAULTS_AT
};
static const struct code {
    u32 n;
    struct bpf_insn insn[14];
} bases[] = {
#define CODE(...)                                                                                            \
    {                                                                                                        \
        sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn),                                  \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
/* r6 moved by a number below a power of two, times a size. */
#define AT(most, size)                                                                                       \
    LDVAL(R7, 0, 0), LDX(W, R7, R7, 0), ALU(BPF_AND, R7, (most)-1), ALU(BPF_MUL, R7, size), ADDX(R6, R7)
    [CONTEXT] = CODE(MOVX(R6, R1)),
    [REQUEST] = CODE(LDX(DW, R6, R1, 0)),
    [CONNECTION] = CODE(LDX(DW, R6, R1, 0), LDX(DW, R6, R6, offsetof(request_t, connection))),
    [VARIABLE] = CODE(SYMBOL(R6, PID)),
    [NUMBERS] = CODE(SYMBOL(R6, LIMITS)),
    [STRUCTURE] = CODE(SYMBOL(R6, CYCLE)),
    [FOLLOWED] = CODE(SYMBOL(R6, LAST), LDX(DW, R6, R6, 0)),
    [REQUEST_AT] = CODE(LDX(DW, R6, R1, 0), AT(4, sizeof(struct header))),
    [ROW_AT] = CODE(LDX(DW, R6, R1, 0), AT(2, sizeof(short[5]))),
    [NUMBERS_AT] = CODE(SYMBOL(R6, LIMITS), AT(4, sizeof(short))),
    [POOL_AT] = CODE(SYMBOL(R6, POOL), AT(2, sizeof(connection_t))),
    [OPEN_AT] = CODE(SYMBOL(R6, CYCLE), AT(4, sizeof(void *)), LDX(DW, R6, R6, offsetof(struct cycle, open))),
    [DEFAULTS_AT] = CODE(SYMBOL(R6, CYCLE), AT(2, sizeof(struct header))),
};

#define READ(size, type, field)  CODE(LDX(size, R0, R6, offsetof(type, field)))
#define WRITE(size, type, field) CODE(ST(size, R6, offsetof(type, field), 1))
/* Eight bytes of it, from or to the stack. */
#define BUFFER(pointer, first, word)                                                                         \
    CODE(MOVX(R3, R6), MOVX(R1, R10), ADD(R1, -32), MOV(R2, 8),                                              \
         WIDE(R4, offsetof(request_t, pointer), first),                                                      \
         WIDE(R5, offsetof(request_t, ntail) | (word), 4 << (TENON_LENGTH_SIZE - 32) | (word) >> 32),        \
         FUNCTION(TENON_COPY))
#define WIDE(d, low, high) INSN(BPF_LD | BPF_IMM | BPF_DW, d, 0, 0, (s32)(low)), INSN(0, 0, 0, 0, (s32)(high))
#define ITEM(text)         "  - \"" text "\"\n"

/* What is granted. C(KIND, as it is written) */
// clang-format off
#define CAPS(C)                                                                                              \
    C(READ_FIELD,    "read(PATH)")                                                                           \
    C(WRITE_FIELD,   "write(PATH)")                                                                          \
    C(READ_BUFFER,   "read(p[0 .. n])")                                                                      \
    C(WRITE_BUFFER,  "write(p[0 .. n])")                                                                     \
    C(READ_ARG,      "read(NAME)")                                                                           \
    C(READ_ARGS,     "read(arguments)")                                                                      \
    C(WRITE_ARGS,    "write(arguments)")                                                                     \
    C(READ_PROCESS,  "read(process)")                                                                        \
    C(WRITE_PROCESS, "write(process)")                                                                       \
    C(STATE,         "NAME, a state")                                                                        \
    C(HELPER,        "NAME, a helper")                                                                       \
    C(HELPERS,       "helpers(GROUP)")                                                                       \
    C(FUNCTION_OF,   "NAME, a function")                                                                     \
    C(IO,            "IO")                                                                                   \
    C(REPLACE,       "replace")                                                                              \
    C(INSTRUCTIONS,  "instructions")                                                                         \
    C(MEMORY,        "memory")
// clang-format on
enum cap {
#define C(kind, ...) KIND_##kind,
    CAPS(C)
#undef C
        CAPS_COUNT
};
static const char *const cap_names[] = {
#define C(kind, name) name,
    CAPS(C)
#undef C
};

enum shape { PLAIN, BITS, IN_UNION, INDEXED };
enum place { ENTRY, ANSWERING, PROBE }; /* fentry, fmod_ret, a uprobe */
static const struct kind {
    enum cap cap;
    enum shape shape;
    const char *what, *granted, *not_granted, *needs;
    enum base base;
    struct code act; /* its first instruction is the access: ways that move r6 change that one's offset */
    enum place place;
    const char *read_too; /* what else a function needs that is handed the place, which it may read, too */
    const char *column;   /* of the table, where it goes no other way; NULL: its shape's, or the way's */
} kinds[] = {
#define K(kind, how, name, with, without, says, from, ...)                                                   \
    {                                                                                                        \
        .cap = KIND_##kind, .shape = how, .what = name, .granted = with, .not_granted = without,             \
        .needs = says, .base = from, .act = __VA_ARGS__                                                      \
    }
    K(READ_FIELD, PLAIN, "a field", ITEM("read(r->method)"), ITEM("read(r->uri)"), "needs  read(r->method)",
      REQUEST, READ(W, request_t, method)),
    K(READ_FIELD, PLAIN, "a field of a field", ITEM("read(r->uri.len)"), ITEM("read(r->args)"),
      "needs  read(r->uri.len)", REQUEST, READ(DW, request_t, uri.len)),
    K(READ_FIELD, IN_UNION, "a member of a union", ITEM("read(r->number)"), ITEM("read(r->low)"),
      "needs  read(r->number)", REQUEST, READ(DW, request_t, number)),
    K(READ_FIELD, IN_UNION, "another name of the same bytes", ITEM("read(r->text)"),
      ITEM("read(r->text[0 .. 7])"), "needs  read(r->number)", REQUEST, READ(DW, request_t, number)),
    K(READ_FIELD, PLAIN, "an element", ITEM("read(r->grid[1][2])"), ITEM("read(r->grid[2])"),
      "needs  read(r->grid[1][2])", REQUEST, READ(H_, request_t, grid[1][2])),
    K(READ_FIELD, PLAIN, "a field of an element", ITEM("read(r->headers[2].hash)"),
      ITEM("read(r->headers[1])"), "needs  read(r->headers[2].hash)", REQUEST,
      READ(W, request_t, headers[2].hash)),
    K(READ_FIELD, PLAIN, "a field of all elements", ITEM("read(r->headers[..].hash)"),
      ITEM("read(r->headers[..].key)"), "needs  read(r->headers[2].hash)", REQUEST,
      READ(W, request_t, headers[2].hash)),
    K(READ_FIELD, INDEXED, "a field of some element", ITEM("read(r->headers[..].hash)"),
      ITEM("read(r->headers[0 .. 3].hash)"), "needs  read(r->headers[..].hash)", REQUEST_AT,
      READ(W, request_t, headers[0].hash)),
    K(READ_FIELD, INDEXED, "a field of a field of some element", ITEM("read(r->headers[..].value)"),
      ITEM("read(r->headers[..].key)"), "needs  read(r->headers[..].value.len)", REQUEST_AT,
      READ(DW, request_t, headers[0].value.len)),
    K(READ_FIELD, INDEXED, "an element of some row", ITEM("read(r->grid[1 .. 3][2])"),
      ITEM("read(r->grid[1])"), "needs  read(r->grid[1 .. 3][2])", ROW_AT, READ(H_, request_t, grid[1][2])),
    K(READ_FIELD, INDEXED, "some element of a variable", ITEM("read(limits)"), ITEM("read(limits[0 .. 3])"),
      "needs  read(limits[0]), read(limits[1])", NUMBERS_AT, CODE(LDX(H_, R0, R6, 0))),
    K(READ_FIELD, INDEXED, "a field of some element of a variable", ITEM("read(pool[0 .. 2].fd)"),
      ITEM("read(pool[1 .. 3].fd)"), "needs  read(pool[0 .. 2].fd)", POOL_AT, READ(W, connection_t, fd)),
    K(READ_FIELD, INDEXED, "a bitfield of some element of a variable", ITEM("read(pool[..].port)"),
      ITEM("read(pool[..].secure)"), "needs  read(pool[0 .. 2].port)", POOL_AT, CODE(LDX(H_, R0, R6, 6))),
    K(READ_FIELD, INDEXED, "a field behind some pointer", ITEM("read(the_cycle.open[..]->fd)"),
      ITEM("read(the_cycle.open[..])"), "needs  read(connection_t->fd)", OPEN_AT, READ(W, connection_t, fd)),
    K(READ_FIELD, PLAIN, "a field behind a pointer", ITEM("read(r->connection->fd)"),
      ITEM("read(r->connection)"), "needs  read(r->connection->fd)", CONNECTION, READ(W, connection_t, fd)),
    K(READ_FIELD, BITS, "a bitfield", ITEM("read(r->connection->port)"), ITEM("read(r->connection->secure)"),
      "needs  read(r->connection->port)", CONNECTION, CODE(LDX(H_, R0, R6, 6))),
    K(READ_FIELD, BITS, "a bitfield by its neighbour's name", ITEM("read(r->connection->secure)"),
      ITEM("read(r->connection->port)"), "needs  read(r->connection->", CONNECTION, CODE(LDX(B, R0, R6, 4))),
    K(READ_FIELD, BITS, "a bitfield of a variable",
      ITEM("read(the_cycle.mode)") ITEM("read(the_cycle.level)"), ITEM("read(the_cycle.mode)"),
      "needs  read(the_cycle.", STRUCTURE, CODE(LDX(H_, R0, R6, 32))),
    K(READ_ARG, PLAIN, "a number that is an argument", ITEM("read(rc)"), "", "needs  read(rc)", CONTEXT,
      CODE(LDX(DW, R0, R6, 8))),
    K(READ_ARGS, PLAIN, "a register", ITEM("read(arguments)"), ITEM("helpers(local)"),
      "needs  read(arguments)", CONTEXT, CODE(LDX(DW, R0, R6, 112)), PROBE),
    K(WRITE_ARGS, PLAIN, "a written register", ITEM("write(arguments)"), ITEM("read(arguments)"),
      "needs  write(arguments)", CONTEXT, CODE(ST(DW, R6, 112, 1)), PROBE),
    K(WRITE_ARGS, PLAIN, "a written argument", ITEM("write(rc)"), ITEM("read(rc)"), "needs  write(rc)",
      CONTEXT, CODE(ST(DW, R6, 8, 1))),
    K(STATE, PLAIN, "a variable", ITEM("readPid"), ITEM("readCycle"), "needs  readPid", VARIABLE,
      CODE(LDX(W, R0, R6, 0))),
    K(STATE, PLAIN, "a variable that may be written", ITEM("readPid"), ITEM("writePid"), "needs  readPid",
      VARIABLE, CODE(LDX(H_, R0, R6, 2))),
    K(STATE, PLAIN, "a written variable", ITEM("writePid"), ITEM("readPid"), "needs  writePid", VARIABLE,
      CODE(ST(W, R6, 0, 1)), ENTRY, ITEM("readPid")),
    K(READ_FIELD, PLAIN, "an element of a variable", ITEM("read(limits[1])"), ITEM("read(limits[2])"),
      "needs  read(limits[1])", NUMBERS, CODE(LDX(H_, R0, R6, 2))),
    K(WRITE_FIELD, PLAIN, "a written element of a variable", ITEM("write(limits[1 .. 3])"),
      ITEM("write(limits[0])"), "needs  write(limits[2])", NUMBERS, CODE(ST(H_, R6, 4, 1)), ENTRY,
      ITEM("read(limits[1 .. 3])")),
    K(WRITE_FIELD, INDEXED, "some written element of a variable", ITEM("write(limits)"),
      ITEM("write(limits[1 .. 4])"), "needs  write(limits[0]), write(limits[1])", NUMBERS_AT,
      CODE(ST(H_, R6, 0, 1)), ENTRY, ITEM("read(limits)")),
    K(WRITE_FIELD, INDEXED, "a written field of some element", ITEM("write(the_cycle.defaults[0 .. 2].hash)"),
      ITEM("write(the_cycle.defaults[1 .. 3].hash)"), "needs  write(the_cycle.defaults[0 .. 2].hash)",
      DEFAULTS_AT, WRITE(W, struct cycle, defaults[0].hash)),
    K(STATE, PLAIN, "a field behind a variable", ITEM("lastFd"), ITEM("read(last_connection)"),
      "needs  read(last_connection->fd)", FOLLOWED, READ(W, connection_t, fd)),
    K(STATE, PLAIN, "a variable, to what is behind it", ITEM("lastFd"), ITEM("read(connection_t->fd)"),
      "needs  read(last_connection)", FOLLOWED, READ(W, connection_t, fd)),
    K(STATE, PLAIN, "a field of a variable", ITEM("readCycle"), ITEM("readPid"), "needs  readCycle",
      STRUCTURE, READ(W, struct cycle, pid)),
    K(STATE, PLAIN, "a field of a variable, by its type", ITEM("readCycle"), ITEM("read(cycle->pid)"),
      "needs  readCycle", STRUCTURE, READ(W, struct cycle, pid)),
    K(WRITE_FIELD, PLAIN, "a written field", ITEM("write(r->headers_out.status)"), ITEM("read(r)"),
      "needs  write(r->headers_out.status)", REQUEST, WRITE(W, request_t, headers_out.status)),
    K(WRITE_FIELD, PLAIN, "a written byte", ITEM("write(r->headers_out.pad_after)"),
      ITEM("write(r->headers_out.status)"), "needs  write(r->headers_out.pad_after)", REQUEST,
      WRITE(B, request_t, headers_out.pad_after)),
    K(WRITE_FIELD, BITS, "a written bitfield", ITEM("write(the_cycle.mode)") ITEM("write(the_cycle.level)"),
      ITEM("write(the_cycle.mode)"), "needs  write(the_cycle.", STRUCTURE, CODE(ST(H_, R6, 32, 1))),
    K(WRITE_FIELD, IN_UNION, "a written member of a union", ITEM("write(r->number)"), ITEM("write(r->low)"),
      "", REQUEST, WRITE(DW, request_t, number)),
    K(HELPER, PLAIN, "a helper", ITEM("bpf_ktime_get_ns"), ITEM("bpf_get_prandom_u32"),
      "needs  bpf_ktime_get_ns", REQUEST, CODE(CALL(BPF_FUNC_ktime_get_ns))),
    K(HELPERS, PLAIN, "a helper of a group", ITEM("helpers(local)"), ITEM("helpers(result)"),
      "needs  bpf_ktime_get_ns", REQUEST, CODE(CALL(BPF_FUNC_ktime_get_ns))),
    K(READ_PROCESS, PLAIN, "an address for a helper", ITEM("read(process)"),
      ITEM("read(r)") ITEM("helpers(local)"), "needs  read(process)", REQUEST,
      CODE(MOVX(R3, R6), MOVX(R1, R10), ADD(R1, -32), MOV(R2, 8), CALL(BPF_FUNC_probe_read_user))),
    K(WRITE_PROCESS, PLAIN, "an address for a helper to write to", ITEM("write(process)"),
      ITEM("write(r)") ITEM("read(process)"), "needs  write(process)", REQUEST,
      CODE(ST(DW, R10, -32, 1), MOVX(R1, R6), MOVX(R2, R10), ADD(R2, -32), MOV(R3, 8),
           CALL(BPF_FUNC_probe_write_user))),
    K(READ_PROCESS, IN_UNION, "bytes behind a pointer without a type, in a union",
      ITEM("read(process)") ITEM("read(r->either)"), ITEM("read(r->either)"), "needs  read(process)", REQUEST,
      CODE(MOVX(R3, R6), LDX(DW, R3, R3, offsetof(request_t, either)), MOVX(R1, R10), ADD(R1, -32),
           MOV(R2, 8), CALL(BPF_FUNC_probe_read_user))),
    K(READ_PROCESS, INDEXED, "bytes at an address of some element", ITEM("read(process)"),
      ITEM("read(r)") ITEM("helpers(local)"), "needs  read(process)", REQUEST_AT,
      CODE(MOVX(R3, R6), MOVX(R1, R10), ADD(R1, -32), MOV(R2, 8), CALL(BPF_FUNC_probe_read_user))),
    K(WRITE_PROCESS, INDEXED, "bytes written at an address of some element", ITEM("write(process)"),
      ITEM("write(r)") ITEM("read(process)"), "needs  write(process)", REQUEST_AT,
      CODE(ST(DW, R10, -32, 1), MOVX(R1, R6), MOVX(R2, R10), ADD(R2, -32), MOV(R3, 8),
           CALL(BPF_FUNC_probe_write_user))),
    K(READ_BUFFER, IN_UNION, "a buffer", ITEM("read(r->either.bytes[0 .. r->ntail])"),
      ITEM("read(r->either)") ITEM("read(r->ntail)"), "needs  read(r->either.bytes[0 .. r->ntail])", REQUEST,
      BUFFER(either.bytes, 0, 0ull)),
    K(READ_BUFFER, PLAIN, "elements of a buffer", ITEM("read(r->names[2 .. r->ntail])"),
      ITEM("read(r->names[3 .. r->ntail])"), "needs  read(r->names[2 .. r->ntail])", REQUEST,
      BUFFER(names, 2, 8ull << TENON_ELEMENT)),
    K(READ_BUFFER, PLAIN, "an array at the end", ITEM("read(r->tail[0 .. r->ntail])"), ITEM("read(r)"),
      "needs  read(r->tail[0 .. r->ntail])", REQUEST, BUFFER(tail, 0, 1ull << TENON_INSIDE)),
    K(WRITE_BUFFER, PLAIN, "a written buffer", ITEM("write(r->uri.data[0 .. r->ntail])"),
      ITEM("read(r->uri.data[0 .. r->ntail])"), "needs  write(r->uri.data[0 .. r->ntail])", REQUEST,
      BUFFER(uri.data, 0, 1ull << TENON_WRITES)),
    K(WRITE_BUFFER, IN_UNION, "a written buffer in a union", ITEM("write(r->either.bytes[0 .. r->ntail])"),
      ITEM("read(r->either)"), "", REQUEST, BUFFER(either.bytes, 0, 1ull << TENON_WRITES)),
    K(FUNCTION_OF, PLAIN, "a function of the host",
      ITEM("finishRequest") ITEM("write(r->headers_out.status)"), ITEM("write(r->headers_out.status)"),
      "needs  finishRequest", REQUEST, CODE(MOVX(R1, R6), MOV(R2, 404), FUNCTION(FINISH))),
    K(FUNCTION_OF, PLAIN, "a function that writes for its caller",
      ITEM("finishRequest") ITEM("write(r->headers_out.status)"), ITEM("finishRequest"),
      "needs  write(r->headers_out.status)", REQUEST, CODE(MOVX(R1, R6), MOV(R2, 404), FUNCTION(FINISH))),
    K(FUNCTION_OF, PLAIN, "a function that reads for its caller", ITEM("peekMethod") ITEM("read(r->method)"),
      ITEM("peekMethod") ITEM("read(r->uri)"), "needs  read(r->method)", REQUEST,
      CODE(MOVX(R1, R6), FUNCTION(PEEK))),
    K(FUNCTION_OF, IN_UNION, "a member of a union, for a function",
      ITEM("takeNumber") ITEM("read(r->number)"), ITEM("read(r->number)"), "needs  takeNumber", REQUEST,
      CODE(MOVX(R1, R6), LDX(DW, R1, R1, offsetof(request_t, number)), FUNCTION(TAKE))),
    K(FUNCTION_OF, BITS, "a bitfield, for a function",
      ITEM("takeNumber") ITEM("read(the_cycle.mode)") ITEM("read(the_cycle.level)"),
      ITEM("read(the_cycle.mode)") ITEM("read(the_cycle.level)"), "needs  takeNumber", STRUCTURE,
      CODE(MOVX(R1, R6), LDX(H_, R1, R1, 32), FUNCTION(TAKE))),
    K(FUNCTION_OF, INDEXED, "a field of some element, for a function",
      ITEM("takeNumber") ITEM("read(r->headers[..].hash)"), ITEM("read(r->headers[..].hash)"),
      "needs  takeNumber", REQUEST_AT,
      CODE(MOVX(R1, R6), LDX(W, R1, R1, offsetof(request_t, headers[0].hash)), FUNCTION(TAKE))),
    K(IO, PLAIN, "a function that does input or output", ITEM("emitNumber") ITEM("IO"), ITEM("emitNumber"),
      "needs  IO", REQUEST, CODE(MOV(R1, 1), FUNCTION(EMIT))),
    K(IO, IN_UNION, "a member of a union goes out", ITEM("emitNumber") ITEM("IO") ITEM("read(r->number)"),
      ITEM("emitNumber") ITEM("read(r->number)"), "needs  IO", REQUEST,
      CODE(MOVX(R1, R6), LDX(DW, R1, R1, offsetof(request_t, number)), FUNCTION(EMIT))),
    K(IO, BITS, "a bitfield goes out",
      ITEM("emitNumber") ITEM("IO") ITEM("read(the_cycle.mode)") ITEM("read(the_cycle.level)"),
      ITEM("emitNumber") ITEM("read(the_cycle.mode)") ITEM("read(the_cycle.level)"), "needs  IO", STRUCTURE,
      CODE(MOVX(R1, R6), LDX(H_, R1, R1, 32), FUNCTION(EMIT))),
    K(IO, INDEXED, "a field of some element goes out",
      ITEM("emitNumber") ITEM("IO") ITEM("read(r->headers[..].hash)"),
      ITEM("emitNumber") ITEM("read(r->headers[..].hash)"), "needs  IO", REQUEST_AT,
      CODE(MOVX(R1, R6), LDX(W, R1, R1, offsetof(request_t, headers[0].hash)), FUNCTION(EMIT))),
    K(REPLACE, PLAIN, "an answer", ITEM("replace"), ITEM("helpers(local)"), "needs  replace", CONTEXT,
      CODE(MOVX(R1, R6), MOV(R2, 404), FUNCTION(TENON_REPLACE)), ENTRY, NULL, "kfunc argument"),
    K(REPLACE, PLAIN, "an answer from a map", ITEM("replace"), ITEM("helpers(local)"), "needs  replace",
      CONTEXT, CODE(MOVX(R1, R6), LDVAL(R2, 0, 0), LDX(B, R2, R2, 0), FUNCTION(TENON_REPLACE)), ENTRY, NULL,
      "map"),
    K(REPLACE, PLAIN, "an answer by a helper", ITEM("replace"), ITEM("helpers(local)"), "needs  replace",
      CONTEXT, CODE(MOVX(R1, R6), MOV(R2, 404), CALL(BPF_FUNC_override_return)), PROBE, NULL,
      "helper argument"),
    K(REPLACE, PLAIN, "an answer by the result", ITEM("replace"), ITEM("read(r)"), "needs  replace", CONTEXT,
      CODE(MOV(R9, 404)), ANSWERING),
    K(REPLACE, IN_UNION, "a member of a union as the answer", ITEM("replace") ITEM("read(r->low)"),
      ITEM("read(r->low)"), "needs  replace", CONTEXT,
      CODE(MOVX(R1, R6), LDX(DW, R2, R6, 0), LDX(W, R2, R2, offsetof(request_t, low)), ALU(BPF_AND, R2, 255),
           FUNCTION(TENON_REPLACE))),
    K(REPLACE, BITS, "a bitfield as the answer",
      ITEM("replace") ITEM("read(the_cycle.mode)") ITEM("read(the_cycle.level)"),
      ITEM("read(the_cycle.mode)") ITEM("read(the_cycle.level)"), "needs  replace", CONTEXT,
      CODE(MOVX(R1, R6), SYMBOL(R2, CYCLE), LDX(H_, R2, R2, 32), FUNCTION(TENON_REPLACE))),
    K(REPLACE, INDEXED, "a field of some element as the answer", ITEM("replace") ITEM("read(pool[..].port)"),
      ITEM("read(pool[..].port)"), "needs  replace", CONTEXT,
      CODE(LDVAL(R2, 0, 0), LDX(W, R2, R2, 0), ALU(BPF_AND, R2, 1), ALU(BPF_MUL, R2, sizeof(connection_t)),
           SYMBOL(R3, POOL), ADDX(R3, R2), LDX(H_, R2, R3, 6), MOVX(R1, R6), FUNCTION(TENON_REPLACE))),
    K(INSTRUCTIONS, PLAIN, "a long run", ITEM("instructions < 60"), ITEM("instructions < 3"),
      "a run may take more than 2 instructions, the limit of class \"c\"", REQUEST,
      CODE(MOV(R0, 1), MOV(R0, 2), MOV(R0, 3))),
#undef K
};

/* Why a kind does not go a way. */
static const struct {
    enum cap cap;
    const char *way, *why;
} absent[] = {
    {KIND_READ_BUFFER, "bitfield", "a length is a whole number, and elements have bytes"},
    {KIND_WRITE_BUFFER, "bitfield", "a length is a whole number, and elements have bytes"},
    {KIND_READ_BUFFER, "variable index",
     "the object that has pointer and length is one, at a place that is known"},
    {KIND_WRITE_BUFFER, "variable index",
     "the object that has pointer and length is one, at a place that is known"},
    {KIND_READ_ARG, "bitfield", "an argument is a word of the context, whole"},
    {KIND_READ_ARG, "union", "an argument is a word of the context, whole"},
    {KIND_READ_ARG, "variable index", "which argument is read is told by a constant, as on Linux"},
    {KIND_READ_ARGS, "bitfield", "registers have no fields"},
    {KIND_READ_ARGS, "union", "registers have no fields"},
    {KIND_READ_ARGS, "variable index", "which register is read is told by a constant, as on Linux"},
    {KIND_WRITE_ARGS, "bitfield", "an argument or register is written whole"},
    {KIND_WRITE_ARGS, "union", "an argument or register is written whole"},
    {KIND_WRITE_ARGS, "variable index", "which one is written is told by a constant, as on Linux"},
    {KIND_READ_PROCESS, "bitfield", "an address without a type has no fields"},
    {KIND_WRITE_PROCESS, "bitfield", "an address without a type has no fields"},
    {KIND_WRITE_PROCESS, "union", "an address without a type has no fields"},
    {KIND_STATE, "bitfield", "a state capability names a path: as of read(PATH)"},
    {KIND_STATE, "union", "a state capability names a path: as of read(PATH)"},
    {KIND_STATE, "variable index", "a state capability names a path: as of read(PATH)"},
    {KIND_HELPER, "bitfield", "what helpers are handed are numbers and places: as of read(PATH)"},
    {KIND_HELPER, "union", "what helpers are handed are numbers and places: as of read(PATH)"},
    {KIND_HELPER, "variable index", "what helpers are handed are numbers and places: as of read(PATH)"},
    {KIND_HELPERS, "bitfield", "what helpers are handed are numbers and places: as of read(PATH)"},
    {KIND_HELPERS, "union", "what helpers are handed are numbers and places: as of read(PATH)"},
    {KIND_HELPERS, "variable index", "what helpers are handed are numbers and places: as of read(PATH)"},
    {KIND_INSTRUCTIONS, "bitfield", "a limit of the run: nothing is accessed"},
    {KIND_INSTRUCTIONS, "union", "a limit of the run: nothing is accessed"},
    {KIND_INSTRUCTIONS, "variable index", "a limit of the run: nothing is accessed"},
    {KIND_MEMORY, NULL, "a limit of the program that was compiled: class.c, test_memory"},
};

/* -------------------------------------------------------------------------------------------------- ways */

enum way {
    DIRECT,
    SPILT,
    PARAMETER,
    CALLBACK,
    MOVED,
    CONTAINER,
    JOINED,
    VIA_MAP,
    KFUNC_ARG,
    HELPER_ARG,
    WAYS
};
static const char *const ways[] = {"direct",
                                   "spilt",
                                   "in a subprogram",
                                   "in a callback",
                                   "moved by a constant",
                                   "from a member, back",
                                   "after two ways met",
                                   "from a map, or into one",
                                   "handed to a function of the host",
                                   "handed to a helper"};

struct built {
    struct bpf_insn insn[80];
    u32 n, second; /* where a second function begins; 0: none */
};

static void put(struct built *p, struct bpf_insn insn)
{
    p->insn[p->n++] = insn;
}
#define PUT(...)                                                                                             \
    do {                                                                                                     \
        const struct bpf_insn row_[] = {__VA_ARGS__};                                                        \
                                                                                                             \
        for (u32 k_ = 0; k_ < sizeof(row_) / sizeof(*row_); k_++)                                            \
            put(p, row_[k_]);                                                                                \
    } while (0)

static void put_code(struct built *p, const struct code *c)
{
    for (u32 k = 0; k < c->n; k++)
        put(p, c->insn[k]);
}

/* A load or a store: everything else has the object for an argument, if at all. */
static bool is_access(const struct kind *kind)
{
    u8 class = BPF_CLASS(kind->act.insn[0].code);

    return kind->act.n == 1 && (class == BPF_LDX || class == BPF_ST);
}

static bool is_store(const struct kind *kind)
{
    return BPF_CLASS(kind->act.insn[0].code) == BPF_ST && kind->act.n == 1;
}

/* A function is handed the place that is to be written, or that a helper is to read. */
static bool is_handed(const struct kind *kind, enum way way)
{
    return is_store(kind) ? way == KFUNC_ARG || way == HELPER_ARG
                          : way == HELPER_ARG && is_access(kind) && kind->base != CONTEXT;
}

static void put_act(const struct kind *kind, enum way way, const struct code *act, struct built *p)
{
    u32 size = tn_size_bytes(act->insn[0].code);

    if (is_handed(kind, way) && way == KFUNC_ARG) {
        PUT(MOVX(R1, R6), ADD(R1, act->insn[0].off), MOV(R2, (s32)size), FUNCTION(FILL));
    } else if (is_handed(kind, way) && is_store(kind)) {
        PUT(MOVX(R1, R6), ADD(R1, act->insn[0].off), MOV(R2, (s32)size), CALL(BPF_FUNC_get_current_comm));
    } else if (is_handed(kind, way)) {
        PUT(LDMAP(R1, 1), MOVX(R2, R6), ADD(R2, act->insn[0].off), MOV(R3, (s32)size), MOV(R4, 0),
            CALL(BPF_FUNC_ringbuf_output));
    } else if (way == VIA_MAP && is_store(kind)) { /* what the map has */
        PUT(LDVAL(R7, 0, 0), LDX(DW, R7, R7, 0), STX(BPF_SIZE(act->insn[0].code), R6, act->insn[0].off, R7));
    } else {
        put_code(p, act);
        if (way == VIA_MAP)
            PUT(MOVX(R8, R0), LDVAL(R7, 0, 0), STX(DW, R7, 0, R8));
        if (way == KFUNC_ARG)
            PUT(MOVX(R1, R0), FUNCTION(TAKE));
        if (way == HELPER_ARG)
            PUT(STX(DW, R10, -16, R0), LDMAP(R1, 1), MOVX(R2, R10), ADD(R2, -16), MOV(R3, 8), MOV(R4, 0),
                CALL(BPF_FUNC_ringbuf_output));
    }
}

static void build(const struct kind *kind, enum way way, struct built *p)
{
    struct code act = kind->act;
    u32 at;

    *p = (struct built){.n = 0};
    put_code(p, &bases[kind->base]);
    switch (way) {
    case SPILT:
        PUT(STX(DW, R10, -8, R6), MOV(R6, 0), LDX(DW, R6, R10, -8));
        break;
    case PARAMETER:
        PUT(MOVX(R1, R6), CALLP(2), MOV(R0, 0), EXIT);
        p->second = p->n;
        PUT(MOVX(R6, R1));
        break;
    case CALLBACK:
        PUT(STX(DW, R10, -8, R6), MOV(R1, 1));
        at = p->n;
        PUT(INSN(BPF_LD | BPF_IMM | BPF_DW, R2, BPF_PSEUDO_FUNC, 0, 0), INSN(0, 0, 0, 0, 0), MOVX(R3, R10),
            ADD(R3, -8), MOV(R4, 0), CALL(BPF_FUNC_loop), MOV(R0, 0), EXIT);
        p->second = p->n;
        p->insn[at].imm = (s32)(p->n - at - 1);
        PUT(LDX(DW, R6, R2, 0));
        break;
    case MOVED:
        PUT(ADD(R6, 16));
        if (is_access(kind))
            act.insn[0].off = (s16)(act.insn[0].off - 16);
        else
            PUT(ADD(R6, -16));
        break;
    case CONTAINER:
        PUT(ADD(R6, offsetof(request_t, uri)), MOVX(R7, R6), ADD(R7, -(s32)offsetof(request_t, uri)),
            MOVX(R6, R7));
        break;
    case JOINED:
        PUT(MOVX(R7, R6), CALL(BPF_FUNC_get_prandom_u32), JMP(BPF_JEQ, R0, 0, 1), MOVX(R6, R7));
        break;
    default:
        break;
    }
    put_act(kind, way, &act, p);
    PUT(MOV(R0, 0));
    if (kind->place == ANSWERING && !p->second)
        PUT(MOVX(R0, R9));
    PUT(EXIT);
}

/* Ways that some kinds do not go, here or on Linux, whatever their class: what the verifier says. */
static const char *never(const struct kind *kind, enum way way)
{
    bool moved = kind->shape == INDEXED && kind->base != OPEN_AT;
    bool read = kind->base == CONNECTION || kind->base == FOLLOWED || kind->base == OPEN_AT;
    bool object = kind->base == REQUEST || kind->base == STRUCTURE || kind->base == REQUEST_AT ||
                  kind->base == ROW_AT || kind->base == DEFAULTS_AT;

    if (kind->cap == KIND_WRITE_ARGS && (way == MOVED || way == KFUNC_ARG))
        return "modified ctx ptr";
    if (kind->cap == KIND_WRITE_ARGS && way == HELPER_ARG)
        return "type=ctx expected=";
    if (kind->cap == KIND_WRITE_FIELD && kind->shape == IN_UNION && !is_handed(kind, way))
        return "lies in a union, which may be something else";
    if (kind->cap == KIND_WRITE_BUFFER && kind->shape == IN_UNION)
        return "lies in a union, which may be something else";
    if (way == MOVED && kind->base == CONTEXT && is_access(kind))
        return "modified ctx ptr";
    if (way == HELPER_ARG && is_access(kind) && read)
        return "ptr_ expected=";
    if (way == HELPER_ARG && is_access(kind) && object && moved)
        return "dereference of modified trusted_ptr_";
    if (way == HELPER_ARG && is_store(kind) && object)
        return "such an object is read-only";
    if (way == KFUNC_ARG && is_store(kind) && object)
        return "is not supported for a typed pointer";
    return NULL;
}

/* An answer yields no result, and the one that is returned comes from no other function. */
static bool applies(const struct kind *kind, enum way way)
{
    if (kind->place == ANSWERING)
        return way == DIRECT || way == SPILT || way == MOVED || way == CONTAINER || way == JOINED;
    if (way == KFUNC_ARG && strstr(kind->needs, "takeNumber"))
        return false; /* that is one already */
    return kind->cap != KIND_REPLACE || (way != VIA_MAP && way != KFUNC_ARG && way != HELPER_ARG);
}

/* ----------------------------------------------------------------------------------------------- judging */

static struct func_types types;

static u32 verified;

static bool judge(const struct kind *kind, struct built p, const struct tn_authority *auth, char says[2000])
{
    static const struct tn_verify_map maps[] = {
        {.geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1},
         .name = "values"},
        {.geo = {.type = BPF_MAP_TYPE_RINGBUF, .max_entries = 4096}, .name = "events"}};
    const struct bpf_func_info infos[] = {{0, types.program}, {p.second, types.callback}};
    struct tn_verify_in in = {.insns = p.insn,
                              .ninsns = p.n,
                              .prog_type = BPF_PROG_TYPE_TRACING,
                              .expected_attach_type =
                                  kind->place == ENTRY ? BPF_TRACE_FENTRY : BPF_MODIFY_RETURN,
                              .gpl = true,
                              .maps = maps,
                              .nmaps = TN_ARRAY_SIZE(maps),
                              .btf = types.btf,
                              .btf_size = types.size,
                              .func_info = infos,
                              .func_info_rec_size = sizeof(*infos),
                              .func_info_cnt = p.second ? 2 : 1,
                              .host_btf = host_btf,
                              .process = true,
                              .answer_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "tenon_replace"),
                              .copy_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "tenon_copy"),
                              .attach_btf_id = tn_btf_find(host_btf, BTF_KIND_FUNC, "access_phase"),
                              .authority = auth};
    struct tn_verdict v;
    bool accepted;

    if (kind->place == PROBE) {
        in.prog_type = BPF_PROG_TYPE_KPROBE;
        in.expected_attach_type = in.attach_btf_id = 0;
    }
    for (u32 k = 0; k < p.n; k++)
        if (p.insn[k].imm < 0 &&
            ((p.insn[k].code == (BPF_JMP | BPF_CALL) && p.insn[k].src_reg == BPF_PSEUDO_KFUNC_CALL) ||
             (p.insn[k].code == (BPF_LD | BPF_IMM | BPF_DW) && p.insn[k].src_reg == BPF_PSEUDO_BTF_ID)))
            p.insn[k].imm =
                (s32)tn_btf_find(host_btf, symbols[-p.insn[k].imm].kind, symbols[-p.insn[k].imm].name);
    verified++;
    assert_int_equal(tn_verify(&in, &v), 0);
    accepted = v.accepted;
    snprintf(says, 2000, "%s", accepted ? "accepted" : v.refusal.message);
    tn_verdict_clear(&v);
    return accepted;
}

static const char *entry_of(const struct kind *kind)
{
    return kind->place == PROBE ? "uprobe:access_phase" : "access";
}

static bool admitted(const struct kind *kind, const struct built *p, const char *allowed, char says[2000])
{
    static const char limit[] = "  - \"instructions < ";
    char list[2000], insns[16] = "inf", *own;
    struct tn_authority auth;
    struct tn_error err;
    struct tn_asker q;
    struct made m;
    bool r;

    snprintf(list, sizeof(list), "%s", allowed);
    own = strstr(list, limit);
    if (own) { /* in the place of the one that every class has */
        assert_int_equal(sscanf(own + sizeof(limit) - 1, "%15[0-9]", insns), 1);
        memmove(own, strchr(own, '\n') + 1, strlen(strchr(own, '\n')));
    }
    if (make_long_class(SPEC, entry_of(kind), insns, list, &m, &err))
        fail_msg("%s: %s", allowed, err.message);
    tn_eim_authority(m.c, kind->place != PROBE, &q, &auth);
    r = judge(kind, *p, &auth, says);
    drop(&m);
    return r;
}

/* What a way itself needs. */
static const char *of_way(const struct kind *kind, enum way way)
{
    switch (way) {
    case CALLBACK:
        return ITEM("bpf_loop");
    case JOINED:
        return ITEM("bpf_get_prandom_u32");
    case KFUNC_ARG:
        return is_handed(kind, way) ? ITEM("fillBytes") : ITEM("takeNumber");
    case HELPER_ARG:
        return is_store(kind) ? ITEM("bpf_get_current_comm") : ITEM("bpf_ringbuf_output");
    default:
        return "";
    }
}

/* A class's own list never has a row twice. */
static void join(char *list, size_t cap, const char *rows)
{
    char row[200];

    for (const char *end; (end = strchr(rows, '\n')); rows = end + 1) {
        snprintf(row, sizeof(row), "%.*s", (int)(end - rows + 1), rows);
        if (!strstr(list, row))
            snprintf(list + strlen(list), cap - strlen(list), "%s", row);
    }
}

/* Of the other capabilities, every so manieth is added to a pair. */
#define MONOTONE_EACH 4u
#define EACH(k, w)                                                                                           \
    for (u32 k = 0; k < TN_ARRAY_SIZE(kinds); k++)                                                           \
        for (enum way w = DIRECT; w < WAYS; w++)                                                             \
            if (applies(&kinds[k], w))

/* Ways as the table has them: shapes, then routes that nothing is said of elsewhere. */
static const char *const columns[] = {"direct",          "spilt", "subprogram", "callback", "kfunc argument",
                                      "helper argument", "map",   "bitfield",   "union",    "variable index",
                                      "container",       "moved", "joined"};
static u32 column_of(const struct kind *kind, enum way way)
{
    static const u8 by_way[] = {
        [DIRECT] = 0,     [SPILT] = 1,   [PARAMETER] = 2,  [CALLBACK] = 3, [KFUNC_ARG] = 4,
        [HELPER_ARG] = 5, [VIA_MAP] = 6, [CONTAINER] = 10, [MOVED] = 11,   [JOINED] = 12};
    static const u8 by_shape[] = {[BITS] = 7, [IN_UNION] = 8, [INDEXED] = 9};

    for (u32 k = 0; kind->column && way == DIRECT && k < TN_ARRAY_SIZE(columns); k++)
        if (!strcmp(columns[k], kind->column))
            return k;
    return kind->shape == PLAIN ? by_way[way] : by_shape[kind->shape];
}

static const char *why_absent(enum cap cap, const char *column)
{
    for (u32 k = 0; k < TN_ARRAY_SIZE(absent); k++)
        if (absent[k].cap == cap && (!absent[k].way || !strcmp(absent[k].way, column)))
            return absent[k].why;
    return NULL;
}

struct cell {
    u32 pairs;
    const char *never;
};

/* Each place has pairs, or what the verifier says always, or a reason; and no reason where there is something. */
static u32 show(struct cell cells[CAPS_COUNT][TN_ARRAY_SIZE(columns)])
{
    u32 filled = 0, refused = 0, senseless = 0, wrong = 0;

    for (u32 c = 0; c < CAPS_COUNT; c++)
        for (u32 w = 0; w < TN_ARRAY_SIZE(columns); w++) {
            const struct cell *cell = &cells[c][w];
            const char *why = why_absent((enum cap)c, columns[w]);

            if (cell->pairs) {
                print_message("# %-18s %-16s %u\n", cap_names[c], columns[w], cell->pairs);
                filled++;
            } else if (why) {
                print_message("# %-18s %-16s -  %s%s%s\n", cap_names[c], columns[w], why,
                              cell->never ? ": " : "", cell->never ? cell->never : "");
                senseless++;
            } else if (cell->never) {
                print_message("# %-18s %-16s 0  always: %s\n", cap_names[c], columns[w], cell->never);
                refused++;
            }
            if (!cell->pairs + !why + !cell->never == 3 || (cell->pairs && why)) {
                print_error("%s, %s: %s\n", cap_names[c], columns[w],
                            why ? "there is a reason, and there are pairs" : "neither a pair nor a reason");
                wrong++;
            }
        }
    print_message("# %u kinds by %zu ways: %u with pairs, %u refused always, %u without meaning\n",
                  CAPS_COUNT, TN_ARRAY_SIZE(columns), filled, refused, senseless);
    return wrong;
}

static void test_matrix(void **state)
{
    static struct cell cells[CAPS_COUNT][TN_ARRAY_SIZE(columns)];
    u32 wrong = 0, pairs = 0;

    EACH(k, w)
    {
        const char *no = never(&kinds[k], w);
        char with[1000] = "", without[1000] = "", says[2000];
        struct built p;
        bool r;

        build(&kinds[k], w, &p);
        join(with, sizeof(with), of_way(&kinds[k], w));
        join(without, sizeof(without), of_way(&kinds[k], w));
        if (is_handed(&kinds[k], w) && w == KFUNC_ARG && kinds[k].read_too) {
            join(with, sizeof(with), kinds[k].read_too);
            join(without, sizeof(without), kinds[k].read_too);
        }
        join(with, sizeof(with), kinds[k].granted);
        join(without, sizeof(without), kinds[k].not_granted);
        r = admitted(&kinds[k], &p, with, says);
        if (r != !no || (no && !strstr(says, no))) {
            print_error("%s, %s, granted: %s\n", kinds[k].what, ways[w], says);
            wrong++;
        }
        if (no) {
            if (!cells[kinds[k].cap][column_of(&kinds[k], w)].never)
                cells[kinds[k].cap][column_of(&kinds[k], w)].never = no;
            continue;
        }
        pairs++;
        cells[kinds[k].cap][column_of(&kinds[k], w)].pairs++;
        r = admitted(&kinds[k], &p, without, says);
        if (r || !strstr(says, kinds[k].needs)) {
            print_error("%s, %s, not granted: %s\n", kinds[k].what, ways[w], says);
            wrong++;
        }
    }
    wrong += show(cells);
    print_message("# %u pairs of program and class\n", pairs);
    assert_int_equal(wrong, 0);
}

/* Of the function's type: an entry that every host has, has none. */
static bool names_arguments(const struct kind *kind)
{
    static const char *const begins[] = {"(r->", "(r)", "(rc)"};

    for (u32 k = 0; k < TN_ARRAY_SIZE(begins); k++)
        if (strstr(kind->granted, begins[k]) || strstr(kind->not_granted, begins[k]))
            return true;
    return false;
}

static void test_monotone(void **state)
{
    EACH(k, w)
    {
        struct built p;

        if (never(&kinds[k], w))
            continue;
        build(&kinds[k], w, &p);
        for (u32 more = 0; more < TN_ARRAY_SIZE(kinds); more++) {
            char list[1000] = "", says[2000];

            if (kinds[more].cap == KIND_INSTRUCTIONS || (more + k + w) % MONOTONE_EACH ||
                (kinds[k].place == PROBE && names_arguments(&kinds[more])))
                continue;
            join(list, sizeof(list), of_way(&kinds[k], w));
            if (is_handed(&kinds[k], w) && w == KFUNC_ARG && kinds[k].read_too)
                join(list, sizeof(list), kinds[k].read_too);
            join(list, sizeof(list), kinds[k].granted);
            join(list, sizeof(list), kinds[more].granted);
            join(list, sizeof(list), kinds[more].not_granted);
            if (!admitted(&kinds[k], &p, list, says))
                fail_msg("%s, %s, with %s: %s", kinds[k].what, ways[w], kinds[more].what, says);
        }
    }
}

static void test_inferred(void **state)
{
    EACH(k, w)
    {
        bool probe = kinds[k].place == PROBE;
        const struct tn_eim_needs needs = {
            .insns = 90, .typed = !probe, .replaces = kinds[k].place == ANSWERING};
        struct tn_eim_inferred inferred = {0};
        struct tn_eim_uses uses = {0};
        struct tn_authority by_class, recorder;
        struct built p;
        struct made m;
        struct tn_error err;
        struct tn_asker q;
        char says[2000];

        if (never(&kinds[k], w))
            continue;
        build(&kinds[k], w, &p);
        if (make_class(SPEC, entry_of(&kinds[k]), "", &m, &err))
            fail_msg("%s", err.message);
        uses.bound = m.bound;
        tn_eim_recording(&uses, probe ? NULL : "access", &recorder);
        tn_eim_authority(m.c, !probe, &q, &by_class);
        recorder.host_stores = true;
        recorder.entry_valid = by_class.entry_valid;
        if (!judge(&kinds[k], p, &recorder, says) ||
            tn_eim_infer(&uses, "mine", entry_of(&kinds[k]), &needs, &inferred, &err))
            fail_msg("%s, %s: %s %s", kinds[k].what, ways[w], says, err.message);
        for (u32 without = 0; without <= inferred.n; without++) {
            char list[1000] = "";

            if (without < inferred.n && !strncmp(inferred.text[without], "instructions", 12))
                continue;
            for (u32 t = 0; t < inferred.n; t++)
                if (t != without && strncmp(inferred.text[t], "instructions", 12) != 0)
                    snprintf(list + strlen(list), sizeof(list) - strlen(list), "  - \"%s\"\n",
                             inferred.text[t]);
            if (admitted(&kinds[k], &p, list, says) != (without == inferred.n))
                fail_msg("%s, %s, without \"%s\" of what was inferred: %s", kinds[k].what, ways[w],
                         without < inferred.n ? inferred.text[without] : "", says);
        }
        tn_eim_inferred_clear(&inferred);
        tn_eim_uses_clear(&uses);
        drop(&m);
    }
    print_message("# %u verifications\n", verified);
}

static int open_all(void **state)
{
    types = func_types_make();
    return open_host(state);
}
static int close_all(void **state)
{
    free(types.btf);
    return close_host(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_monotone),
        cmocka_unit_test(test_inferred),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
