/* SPDX-License-Identifier: MIT */
/*
 * Whole programs: calls of functions and helpers, maps, look-ups that are inlined and what becomes dead by
 * it, code that nobody reaches, and the shape of what comes out.
 */
#include "engine.h"

#include <errno.h>
#include <sys/mman.h>

#include "rt/rounds.h"
#include "rt/self.h"

static void functions_call_each_other(void **state)
{
    struct bpf_insn insns[] = {
        MOV_K(6, 100),
        MOV_K(7, 200),
        STX(BPF_DW, 10, 6, -8),
        MOV_K(1, 5),
        CALL_FN(5), /* 4 → 10 */
        ALU_X(BPF_ADD, 0, 6),
        ALU_X(BPF_ADD, 0, 7),
        LDX(BPF_DW, 1, 10, -8),
        ALU_X(BPF_ADD, 0, 1),
        EXIT,
        /* 10: double */
        MOV_X(6, 1),
        STX(BPF_DW, 10, 6, -8),
        MOV_X(2, 10),
        ALU_K(BPF_ADD, 2, -8),
        CALL_FN(2), /* 14 → 17 */
        LDX(BPF_DW, 0, 10, -8),
        EXIT,
        /* 17: doubles what R2 points to */
        LDX(BPF_DW, 7, 2, 0),
        ALU_X(BPF_ADD, 7, 7),
        STX(BPF_DW, 2, 7, 0),
        STX(BPF_DW, 10, 7, -8),
        MOV_K(0, 0),
        EXIT,
    };
    struct engine e;

    ENGINE_INIT(&e, insns);
    assert_int_equal(e.prog.nsubprogs, 3);
    assert_int_equal(engine_vm(&e, NULL, NULL), 10 + 100 + 200 + 100);
    assert_int_equal(engine_jit(&e, NULL, NULL), 10 + 100 + 200 + 100);
    /* Two frames of 512 bytes (the third function's stack is only written, so it has none), three return
       addresses, and what is saved. */
    assert_true(e.code.stack >= 2 * (512 + 8) + 8 && e.code.stack <= 2 * (512 + 64) + 64);
    engine_clear(&e);
}

/* Fills every saved register, calls helpers in between (they see an aligned stack:
   the hosted ones use vector moves). */
static void helpers_keep_what_they_must(void **state)
{
    for (u32 stack = 0; stack < 4; stack++) {
        struct bpf_insn insns[] = {
            MOV_K(6, 6),
            MOV_K(7, 7),
            MOV_K(8, 8),
            MOV_K(9, 9),
            ST(BPF_W, 10, -4, 3),
            ST(BPF_DW, 10, -16, 77),
            LDMAP(1, 0),
            MOV_X(2, 10),
            ALU_K(BPF_ADD, 2, -4),
            MOV_X(3, 10),
            ALU_K(BPF_ADD, 3, -16),
            MOV_K(4, 0),
            CALL(BPF_FUNC_map_update_elem),
            LDMAP(1, 0),
            MOV_X(2, 10),
            ALU_K(BPF_ADD, 2, -4),
            CALL(BPF_FUNC_map_lookup_elem),
            JMP_K(BPF_JNE, 0, 0, 2),
            MOV_K(0, -1),
            EXIT,
            LDX(BPF_DW, 0, 0, 0),
            ALU_X(BPF_ADD, 0, 6),
            ALU_X(BPF_ADD, 0, 7),
            ALU_X(BPF_ADD, 0, 8),
            ALU_X(BPF_ADD, 0, 9),
            EXIT,
        };
        struct engine e;

        ENGINE_INIT(&e, insns);
        e.subprogs[0].stack = 16 + 8 * stack;
        engine_add_map(&e, BPF_MAP_TYPE_HASH, 4, 8, 16, 1);
        assert_int_equal(engine_vm(&e, NULL, NULL), 77 + 30);
        assert_int_equal(engine_jit(&e, NULL, NULL), 77 + 30);
        engine_clear(&e);
    }
}

/* What an earlier function left on the stack is not seen where the verdict says that slots are read first. */
static void unwritten_slots_are_cleared(void **state)
{
    struct bpf_insn insns[] = {
        CALL_FN(2), /* 0 → 3 */
        CALL_FN(7), /* 1 → 9 */
        EXIT,
        /* 3: leaves something, and reads it */
        ST(BPF_DW, 10, -8, -1),
        ST(BPF_DW, 10, -24, -1),
        LDX(BPF_DW, 0, 10, -8),
        LDX(BPF_DW, 1, 10, -24),
        ALU_X(BPF_ADD, 0, 1),
        EXIT,
        /* 9: reads what it never wrote */
        LDX(BPF_DW, 0, 10, -8),
        LDX(BPF_W, 1, 10, -20),
        ALU_X(BPF_ADD, 0, 1),
        EXIT,
    };
    struct engine e;

    ENGINE_INIT(&e, insns);
    assert_int_equal(e.prog.nsubprogs, 3);
    for (u32 s = 0; s < 3; s++)
        e.subprogs[s].stack = 24;
    assert_int_not_equal(engine_vm(&e, NULL, NULL), 0);
    e.subprogs[2].zero = 1 << 0 | 1 << 2;
    assert_int_equal(engine_vm(&e, NULL, NULL), 0);
    assert_int_equal(engine_jit(&e, NULL, NULL), 0);
    engine_clear(&e);
}

static void values_are_reached_directly(void **state)
{
    struct bpf_insn insns[] = {LDVALUE(1, 0, 16), LDX(BPF_DW, 0, 1, 8), ALU_K(BPF_ADD, 0, 1),
                               STX(BPF_DW, 1, 0, 8), EXIT};
    struct engine e;
    u64 *value;

    ENGINE_INIT(&e, insns);
    engine_add_map(&e, BPF_MAP_TYPE_ARRAY, 4, 64, 1, 1);
    value = tn_map_lookup(e.maps[0], &(u32){0}, -1);
    value[3] = 40;
    assert_int_equal(engine_vm(&e, NULL, NULL), 41);
    assert_int_equal(engine_jit(&e, NULL, NULL), 42);
    assert_int_equal(value[3], 42);
    engine_clear(&e);
}

/* ---------------------------------------------------------------------------------------- functions called back */

/* What the verifier may have found out about a call that calls back. */
enum known { NOTHING, THE_FUNCTION, FUNCTION_AND_FLAGS, KNOWNS };

static void know(struct engine *e, u32 call, enum known known)
{
    if (known != NOTHING)
        e->aux[call].callback = 1;
    e->aux[call].no_flags = known == FUNCTION_AND_FLAGS;
}

static u64 both(struct engine *e, void *ctx, struct tn_run *run)
{
    u64 vm = engine_vm(e, ctx, run), jit = engine_jit(e, ctx, run);

    assert_int_equal(vm, jit);
    return jit;
}

/* bpf_loop(ctx[0], add, ctx, ctx[1]), where add counts in ctx[2], sums what it is given in ctx[3], and stops at ctx[4]. */
static void loops_go_round(void **state)
{
    const struct bpf_insn insns[] = {
        MOV_K(6, 6),
        MOV_X(7, 1),
        MOV_K(8, 8),
        MOV_K(9, 9),
        MOV_X(3, 1),
        LDX(BPF_DW, 4, 7, 8),
        LDX(BPF_DW, 1, 7, 0),
        LDFUNC(2, 8), /* 7 → 16 */
        CALL(BPF_FUNC_loop),
        ALU_K(BPF_MUL, 0, 1000),
        ALU_X(BPF_ADD, 0, 6),
        ALU_X(BPF_ADD, 0, 8),
        ALU_X(BPF_ADD, 0, 9),
        JMP_X(BPF_JEQ, 7, 7, 0),
        EXIT,
        /* 16: add */
        MOV_K(6, -1),
        MOV_K(7, -1),
        MOV_K(8, -1),
        MOV_K(9, -1),
        LDX(BPF_DW, 3, 2, 16),
        ALU_K(BPF_ADD, 3, 1),
        STX(BPF_DW, 2, 3, 16),
        LDX(BPF_DW, 3, 2, 24),
        ALU_X(BPF_ADD, 3, 1),
        STX(BPF_DW, 2, 3, 24),
        LDX(BPF_DW, 3, 2, 32),
        MOV_K(0, 0),
        JMP_X(BPF_JNE, 3, 1, 1),
        MOV_K(0, 1),
        EXIT,
    };
    static const u64 counts[] = {
        0, 1, 2, 3, 100, TN_LOOP_MAX, TN_LOOP_MAX + 1, UINT32_MAX, 1ull << 32 | 3, UINT64_MAX};

    for (enum known known = NOTHING; known < KNOWNS; known++)
        for (u32 c = 0; c < TN_ARRAY_SIZE(counts); c++)
            for (u64 flags = 0; flags < (known == FUNCTION_AND_FLAGS ? 1 : 3); flags++)
                for (u64 stop = 0; stop < 6; stop++) {
                    u64 n = known == FUNCTION_AND_FLAGS ? counts[c] : (u32)counts[c];
                    u64 rounds = flags || n > TN_LOOP_MAX ? 0 : stop < n ? stop + 1 : n;
                    s64 result = flags ? -EINVAL : n > TN_LOOP_MAX ? -E2BIG : (s64)rounds;
                    struct engine e;

                    if (stop == 5 && n > 3 && n <= TN_LOOP_MAX)
                        continue; /* one that is never stopped is run below */
                    ENGINE_INIT(&e, insns);
                    assert_int_equal(e.prog.nsubprogs, 2);
                    e.subprogs[1].stack = 0;
                    assert_int_equal(insns[9].imm, BPF_FUNC_loop);
                    know(&e, 9, known);
                    for (u32 engine = 0; engine < 2; engine++) {
                        u64 ctx[] = {counts[c], flags, 0, 0, stop};
                        u64 r0 = engine ? engine_jit(&e, ctx, NULL) : engine_vm(&e, ctx, NULL);

                        assert_int_equal(r0, (u64)(result * 1000 + 23));
                        assert_int_equal(ctx[2], rounds);
                        assert_int_equal(ctx[3], rounds * (rounds - 1) / 2);
                    }
                    engine_clear(&e);
                }
}

/* As many rounds as there may be, and a function that is called back in each of another's. */
static void loops_nest(void **state)
{
    const struct bpf_insn insns[] = {
        MOV_X(6, 1),
        MOV_X(3, 6),
        LDX(BPF_W, 1, 6, 8),
        LDFUNC(2, 6), /* 3 → 10 */
        MOV_K(4, 0),
        CALL(BPF_FUNC_loop),
        LDX(BPF_DW, 1, 6, 0),
        ALU_X(BPF_ADD, 0, 1),
        EXIT,
        /* 10: outer, with what it has on its stack */
        STX(BPF_DW, 10, 1, -8),
        MOV_X(6, 2),
        MOV_X(3, 10),
        ALU_K(BPF_ADD, 3, -16),
        STX(BPF_DW, 3, 6, 0),
        LDX(BPF_W, 1, 6, 12),
        LDFUNC(2, 10), /* 16 → 27 */
        MOV_K(4, 0),
        CALL(BPF_FUNC_loop),
        LDX(BPF_DW, 1, 10, -8),
        MOV_K(0, 1),
        LDX(BPF_DW, 2, 10, -16),
        JMP_X(BPF_JNE, 2, 6, 1),
        MOV_K(0, 0),
        EXIT,
        EXIT, /* 26 */
        /* 27: inner: counts in the context, whose address it finds on the outer one's stack */
        LDX(BPF_DW, 3, 2, 0),
        LDX(BPF_DW, 1, 3, 0),
        ALU_K(BPF_ADD, 1, 1),
        STX(BPF_DW, 3, 1, 0),
        MOV_K(0, 0),
        EXIT,
    };
    static const u32 counts[][2] = {{0, 5}, {5, 0}, {1, 1}, {7, 9}, {1000, 1000}};

    for (u32 c = 0; c < TN_ARRAY_SIZE(counts); c++)
        for (enum known known = NOTHING; known < KNOWNS; known += 2) {
            struct engine e;

            ENGINE_INIT(&e, insns);
            assert_int_equal(e.prog.nsubprogs, 3);
            e.subprogs[0].stack = 0;
            e.subprogs[1].stack = 16;
            e.subprogs[2].stack = 0;
            know(&e, 6, known);
            if (known)
                e.aux[19] = (struct tn_insn_aux){
                    .live = true, .const_map = -1, .const_key = -1, .no_flags = true, .callback = 2};
            for (u32 engine = 0; engine < 2; engine++) {
                u64 ctx[2] = {0, counts[c][0] | (u64)counts[c][1] << 32};
                u64 r0 = engine ? engine_jit(&e, ctx, NULL) : engine_vm(&e, ctx, NULL);

                assert_int_equal(ctx[0], (u64)counts[c][0] * counts[c][1]);
                assert_int_equal(r0, ctx[0] + counts[c][0]);
            }
            assert_true(e.code.stack >= 16 + 3 * 8 + 2 * 32);
            engine_clear(&e);
        }
}

/* The longest loop there may be, of a function that does nothing: instructions of x86 a round are counted. */
static void a_round_is_cheap(void **state)
{
    const struct bpf_insn insns[] = {
        MOV_K(1, TN_LOOP_MAX), LDFUNC(2, 5), /* 1 → 7 */ MOV_K(3, 0), MOV_K(4, 0), CALL(BPF_FUNC_loop), EXIT,
        MOV_K(0, 0),           EXIT,
    };
    struct engine e;
    char text[4096];
    u64 start;

    ENGINE_INIT(&e, insns);
    e.subprogs[0].stack = e.subprogs[1].stack = 0;
    know(&e, 5, FUNCTION_AND_FLAGS);
    engine_compile(&e);
    start = tn_monotonic();
    assert_int_equal(engine_jit(&e, NULL, NULL), TN_LOOP_MAX);
    print_message("# a round takes %.2f ns\n", (double)(tn_monotonic() - start) / TN_LOOP_MAX);
    engine_text(&e, text, sizeof(text));
    assert_null(strstr(text, "lea ")); /* the function's address is made nowhere */
    assert_int_equal(e.code.npool, 0);
    assert_true(engine_count_insns(&e) <= 30);
    engine_clear(&e);
}

/* Which function is called back depends on the context. */
static void functions_are_chosen(void **state)
{
    const struct bpf_insn insns[] = {
        LDX(BPF_DW, 5, 1, 0),
        LDFUNC(2, 10), /* 1 → 12 */
        JMP_K(BPF_JEQ, 5, 0, 2),
        LDFUNC(2, 9), /* 4 → 14 */
        MOV_X(3, 1),
        MOV_K(1, 10),
        MOV_K(4, 0),
        CALL(BPF_FUNC_loop),
        EXIT,
        EXIT, /* 11 */
        MOV_K(0, 0),
        EXIT,
        /* 14 */
        MOV_K(0, 1),
        EXIT,
    };
    struct engine e;
    u64 ctx = 0;

    ENGINE_INIT(&e, insns);
    assert_int_equal(e.prog.nsubprogs, 3);
    assert_int_equal(both(&e, &ctx, NULL), 10);
    ctx = 1;
    assert_int_equal(both(&e, &ctx, NULL), 1);
    engine_clear(&e);
}

#define EACH_MAX 64u

/* bpf_for_each_map_elem(map 0, each, ctx, ctx[0]): `each` writes key and value down behind ctx[2], counted in ctx[1], then
   does what `act` says, and stops when ctx[1] is *stop. */
static void init_each(struct engine *e, u32 type, u32 entries, u32 ncpu, const struct bpf_insn *act, u32 nact,
                      enum known known)
{
    const struct bpf_insn before[] = {
        MOV_X(3, 1),
        LDX(BPF_DW, 4, 1, 0),
        LDMAP(1, 0),
        LDFUNC(2, 3), /* 4 → 8 */
        CALL(BPF_FUNC_for_each_map_elem),
        EXIT,
        /* 8 */
        MOV_X(6, 4),
        MOV_X(8, 2),
        MOV_X(9, 3),
        LDX(BPF_DW, 5, 6, 8),
        MOV_X(0, 5),
        ALU_K(BPF_LSH, 0, 4),
        ALU_X(BPF_ADD, 0, 6),
        LDX(BPF_W, 2, 8, 0),
        STX(BPF_DW, 0, 2, 24),
        LDX(BPF_DW, 2, 9, 0),
        STX(BPF_DW, 0, 2, 32),
        ALU_K(BPF_ADD, 5, 1),
        STX(BPF_DW, 6, 5, 8),
        MOV_X(7, 1),
    };
    const struct bpf_insn after[] = {
        LDX(BPF_DW, 1, 6, 8), LDX(BPF_DW, 2, 6, 16), MOV_K(0, 1), JMP_X(BPF_JEQ, 1, 2, 1), MOV_K(0, 0), EXIT,
    };
    struct bpf_insn insns[TN_ARRAY_SIZE(before) + 16 + TN_ARRAY_SIZE(after)];
    u32 n = TN_ARRAY_SIZE(before);

    memcpy(insns, before, sizeof(before));
    for (u32 i = 0; i < nact; i++) /* none: NULL */
        insns[n + i] = act[i];
    memcpy(&insns[n + nact], after, sizeof(after));
    engine_init(e, insns, n + nact + (u32)TN_ARRAY_SIZE(after));
    assert_int_equal(e->prog.nsubprogs, 2);
    engine_add_map(e, type, 4, 8, entries, ncpu);
    know(e, 6, known);
}

struct seen {
    u64 flags, n, stop, key_value[EACH_MAX][2];
};

static bool is_array(u32 type)
{
    return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

/* Keys 0 … n−1; values of CPU c: 100 × key + c + 1. */
static void fill_map(struct engine *e, u32 n)
{
    u64 value[8] = {0};

    for (u32 key = 0; key < n; key++) {
        for (u32 cpu = 0; cpu < e->geos[0].ncpu; cpu++)
            value[cpu] = 100 * key + cpu + 1;
        assert_int_equal(tn_map_user_update(e->maps[0], &key, value, 0), 0);
    }
}

static void elements_are_gone_through(void **state)
{
    static const u32 types[] = {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_HASH,
                                BPF_MAP_TYPE_PERCPU_HASH};

    for (u32 t = 0; t < TN_ARRAY_SIZE(types); t++)
        for (u32 entries = 1; entries <= 33; entries += 8)
            for (u32 k = 0; k < KNOWNS * 2; k++) {
                u32 filled = is_array(types[t]) || k % 2 ? entries : entries / 2;
                bool percpu = types[t] == BPF_MAP_TYPE_PERCPU_ARRAY || types[t] == BPF_MAP_TYPE_PERCPU_HASH;
                struct engine e;

                init_each(&e, types[t], entries, 3, NULL, 0, (enum known)(k / 2));
                fill_map(&e, filled);
                for (u64 stop = 0; stop <= entries; stop += 3)
                    for (s32 cpu = -1; cpu < 4; cpu++) {
                        struct seen vm = {.flags = 0, .stop = stop}, jit = vm;
                        struct tn_run run = {.cpu = cpu}, again = run;
                        u32 most = percpu && (u32)cpu >= 3 ? 0 : filled;
                        u32 n = stop && stop < most ? (u32)stop : most;
                        u64 met = 0;

                        assert_int_equal(engine_vm(&e, &vm, &run), n);
                        assert_int_equal(engine_jit(&e, &jit, &again), n);
                        assert_memory_equal(&vm, &jit, sizeof(vm));
                        assert_int_equal(vm.n, n);
                        for (u32 i = 0; i < n; i++) {
                            u64 key = vm.key_value[i][0];

                            assert_true(key < filled && !(met >> key & 1));
                            met |= 1ull << key;
                            assert_int_equal(vm.key_value[i][1], 100 * key + (percpu ? (u32)cpu : 0) + 1);
                        }
                    }
                for (u64 flags = 1; flags; flags <<= 21) {
                    struct seen seen = {.flags = flags};
                    struct tn_run run = {.cpu = 0};

                    if (k / 2 == FUNCTION_AND_FLAGS)
                        break;
                    assert_int_equal(both(&e, &seen, &run), -EINVAL);
                    assert_int_equal(seen.n, 0);
                }
                engine_clear(&e);
            }
}

/* The function changes the map that is gone through. */
static void maps_may_change_meanwhile(void **state)
{
    static const u32 types[] = {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH};
    const struct bpf_insn remove[] = {MOV_X(1, 7), MOV_X(2, 8), CALL(BPF_FUNC_map_delete_elem)};
    const struct bpf_insn replace[] = {ST(BPF_DW, 10, -8, 7),
                                       MOV_X(1, 7),
                                       MOV_X(2, 8),
                                       MOV_X(3, 10),
                                       ALU_K(BPF_ADD, 3, -8),
                                       MOV_K(4, 0),
                                       CALL(BPF_FUNC_map_update_elem)};
    const struct bpf_insn add[] = {LDX(BPF_W, 1, 8, 0),
                                   ALU_K(BPF_ADD, 1, 1000),
                                   STX(BPF_W, 10, 1, -4),
                                   MOV_X(1, 7),
                                   MOV_X(2, 10),
                                   ALU_K(BPF_ADD, 2, -4),
                                   MOV_X(3, 9),
                                   MOV_K(4, 0),
                                   CALL(BPF_FUNC_map_update_elem)};

    for (u32 t = 0; t < 2; t++)
        for (u32 engine = 0; engine < 2; engine++) {
            struct tn_map_census census;
            struct tn_run run = {.cpu = 1};
            struct seen seen = {0};
            struct engine e;

            init_each(&e, types[t], 32, 3, remove, TN_ARRAY_SIZE(remove), FUNCTION_AND_FLAGS);
            fill_map(&e, 32);
            assert_int_equal(engine ? engine_jit(&e, &seen, &run) : engine_vm(&e, &seen, &run), 32);
            assert_int_equal(tn_map_census(e.maps[0], &census), 0);
            assert_int_equal(census.live, 0);
            assert_int_equal(census.faults + census.locked + census.taken, 0);
            engine_clear(&e);

            /* A replaced element goes to its chain's head, behind the walk: each key is met once. */
            seen = (struct seen){0};
            init_each(&e, types[t], 32, 3, replace, TN_ARRAY_SIZE(replace), FUNCTION_AND_FLAGS);
            fill_map(&e, 32);
            assert_int_equal(engine ? engine_jit(&e, &seen, &run) : engine_vm(&e, &seen, &run), 32);
            for (u32 key = 0; key < 32; key++) {
                u64 value[8] = {0};

                assert_int_equal(tn_map_user_lookup(e.maps[0], &key, value, 0), 0);
                assert_int_equal(value[t ? 1 : 0], 7);
            }
            engine_clear(&e);

            /* What is added is met or not; the walk ends. */
            seen = (struct seen){0};
            init_each(&e, types[t], 32, 3, add, TN_ARRAY_SIZE(add), FUNCTION_AND_FLAGS);
            fill_map(&e, 16);
            seen.n = engine ? engine_jit(&e, &seen, &run) : engine_vm(&e, &seen, &run);
            assert_true(seen.n >= 16 && seen.n <= e.geos[0].nelems);
            assert_int_equal(tn_map_census(e.maps[0], &census), 0);
            assert_int_equal(census.faults, 0);
            engine_clear(&e);
        }
}

/* Whatever somebody writes into the map's memory, the walk stays inside, and ends. */
static void hostile_maps_end(void **state)
{
    static const u32 types[] = {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH};
    u64 seed = 1, most = 0;

    for (u32 n = 0; n < 4000; n++) {
        struct tn_run run = {.cpu = 0};
        struct tn_rounds rounds = {0};
        struct engine e;
        const struct tn_map *map;
        u64 met = 0;

        init_each(&e, types[n % 2], 16, 2, NULL, 0, NOTHING);
        fill_map(&e, 16);
        map = e.maps[0];
        for (u32 w = 0; w < 1 + n % 100; w++) {
            u32 *word = (u32 *)map->base + rnd(&seed) % (map->geo.size / 4);

            *word = (u32)(n % 8 < 4 ? rnd(&seed) % (map->geo.nelems + 2) : rnd(&seed));
        }
        rounds.call[0] = (u64)map;
        while (tn_helper_for_each_map_elem((u64)&rounds, 0, 0, 0, 0, &run)) {
            const u8 *key = (const u8 *)rounds.arg[1], *value = (const u8 *)rounds.arg[2];

            assert_true(key >= map->base && key + 4 <= map->base + map->geo.size);
            assert_true(value >= map->base && value + 8 <= map->base + map->geo.size);
            met++;
        }
        assert_int_equal(rounds.result, met);
        assert_true(met <= map->geo.nelems);
        most = TN_MAX(most, met);
        engine_clear(&e);
    }
    assert_true(most > 16);
}

/* --------------------------------------------------------------------------------------- inlined look-ups */

/* Look-up of the index that the context holds; the address is the result. Instruction 4 is the call. */
static void init_lookup(struct engine *e, u32 type, u32 value_size, u32 max_entries, u32 ncpu, s32 known)
{
    const struct bpf_insn insns[] = {
        LDX(BPF_W, 2, 1, 0),
        STX(BPF_W, 10, 2, -4),
        MOV_X(2, 10),
        ALU_K(BPF_ADD, 2, -4),
        LDMAP(1, 0),
        CALL(1),
        EXIT,
    };

    ENGINE_INIT(e, insns);
    engine_add_map(e, type, 4, value_size, max_entries, ncpu);
    assert_int_equal(insns[6].code, BPF_JMP | BPF_CALL);
    e->aux[6].const_map = 0;
    e->aux[6].const_key = known;
}

static void inlined_lookups_are_lookups(void **state)
{
    static const u32 sizes[] = {1, 4, 8, 12, 16, 24, 64, 100, 4096};
    static const u32 entries[] = {1, 2, 100, 1000};
    static const u32 types[] = {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY};

    for (u32 t = 0; t < 2; t++)
        for (u32 s = 0; s < TN_ARRAY_SIZE(sizes); s++)
            for (u32 n = 0; n < TN_ARRAY_SIZE(entries); n++) {
                u32 keys[] = {0,          1,          entries[n] - 1, entries[n], entries[n] + 1,
                              0x7fffffff, 0x80000000, UINT32_MAX};
                struct engine e;

                init_lookup(&e, types[t], sizes[s], entries[n], 3, -1);
                for (u32 k = 0; k < TN_ARRAY_SIZE(keys); k++)
                    for (s32 cpu = -1; cpu < 5; cpu++) {
                        struct tn_run run = {.cpu = cpu};
                        u64 expect = (uintptr_t)tn_map_lookup(e.maps[0], &keys[k], cpu);

                        assert_int_equal(engine_vm(&e, &keys[k], &run), expect);
                        assert_int_equal(engine_jit(&e, &keys[k], &run), expect);
                        if (keys[k] >= entries[n] || (t == 1 && (cpu < 0 || cpu >= 3)))
                            assert_int_equal(expect, 0);
                    }
                for (u32 i = 0; i < e.code.npool; i++) /* nothing calls */
                    assert_int_equal(e.code.pool[i].kind, TN_POOL_MAP_DATA);
                engine_clear(&e);
            }
}

static void known_indices_are_addresses(void **state)
{
    static const u32 types[] = {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY};

    for (u32 t = 0; t < 2; t++)
        for (u32 key = 0; key < 12; key++)
            for (s32 cpu = -1; cpu < 4; cpu++) {
                struct tn_run run = {.cpu = cpu};
                struct engine e;
                u64 expect;

                init_lookup(&e, types[t], 12, 10, 3,
                            (s32)key); /* 10 and 11 are out of range: checked, and NULL */
                expect = (uintptr_t)tn_map_lookup(e.maps[0], &key, cpu);
                assert_int_equal(engine_jit(&e, &key, &run), expect);
                if (t == 0)
                    assert_int_equal(expect == 0, key >= 10);
                engine_clear(&e);
            }
}

/* What a C compiler makes of: value = lookup(&map, &zero); if (value) (*value)++; return 0; */
static void init_counter(struct engine *e, bool atomic)
{
    const struct bpf_insn plain[] = {
        MOV_K(6, 0),
        STX(BPF_W, 10, 6, -4),
        MOV_X(2, 10),
        ALU_K(BPF_ADD, 2, -4),
        LDMAP(1, 0),
        CALL(1),
        JMP_K(BPF_JEQ, 0, 0, 3),
        LDX(BPF_DW, 1, 0, 0),
        ALU_K(BPF_ADD, 1, 1),
        STX(BPF_DW, 0, 1, 0),
        MOV_K(0, 0),
        EXIT,
    };
    const struct bpf_insn locked[] = {
        MOV_K(6, 0),
        STX(BPF_W, 10, 6, -4),
        MOV_X(2, 10),
        ALU_K(BPF_ADD, 2, -4),
        LDMAP(1, 0),
        CALL(1),
        JMP_K(BPF_JEQ, 0, 0, 2),
        MOV_K(1, 1),
        ATOMIC(BPF_DW, 0, 1, 0, BPF_ADD),
        MOV_K(0, 0),
        EXIT,
    };

    if (atomic)
        ENGINE_INIT(e, locked);
    else
        ENGINE_INIT(e, plain);
    engine_add_map(e, BPF_MAP_TYPE_ARRAY, 4, 8, 1, 1);
    e->aux[6].const_map = 0;
    e->aux[6].const_key = 0;
}

/* Key, its address, the map, the comparison: all dead once the look-up is an address. */
static void a_counter_is_a_handful_of_instructions(void **state)
{
    for (u32 atomic = 0; atomic < 2; atomic++) {
        struct engine e;
        char text[512];

        init_counter(&e, atomic);
        for (u32 i = 0; i < 3; i++)
            assert_int_equal(engine_jit(&e, NULL, NULL), 0);
        assert_int_equal(engine_vm(&e, NULL, NULL), 0);
        assert_int_equal(*(u64 *)tn_map_lookup(e.maps[0], &(u32){0}, -1), 4);
        engine_text(&e, text, sizeof(text));
        assert_string_equal(strstr(text, "\n") + 1,
                            atomic ? "mov edi, 0x01\nlock add [rax], rdi\nxor eax, eax\nret\n"
                                   : "add qword ptr [rax], 0x01\nxor eax, eax\nret\n");
        assert_int_equal(engine_count_insns(&e), atomic ? 5 : 4);
        assert_int_equal(e.code.stack, 8);
        assert_int_equal(e.code.npool, 1);
        engine_clear(&e);
    }
}

/* The comparison is decided only where every way to it passes the look-up,
   and the register still holds its result. */
static void a_null_check_of_something_else_stays(void **state)
{
    for (u32 known = 0; known < 2; known++) {
        struct bpf_insn insns[] = {
            LDX(BPF_DW, 7, 1, 0),
            ST(BPF_W, 10, -4, 0),
            MOV_X(2, 10),
            ALU_K(BPF_ADD, 2, -4),
            LDMAP(1, 0),
            JMP_K(BPF_JNE, 7, 0, 2), /* 6: skips the look-up, to the comparison */
            CALL(1),                 /* 7 */
            JA(1),
            MOV_K(0, 0),
            JMP_K(BPF_JEQ, 0, 0, 2), /* 10 */
            MOV_K(0, 1),
            EXIT,
            MOV_K(0, 2),
            EXIT,
        };
        struct engine e;

        ENGINE_INIT(&e, insns);
        engine_add_map(&e, BPF_MAP_TYPE_ARRAY, 4, 8, 1, 1);
        e.aux[7].const_map = 0;
        e.aux[7].const_key = 0;
        assert_int_equal(engine_vm(&e, &(u64){known}, NULL), known ? 2 : 1);
        assert_int_equal(engine_jit(&e, &(u64){known}, NULL), known ? 2 : 1);
        engine_clear(&e);
    }
    {
        struct bpf_insn insns[] = {
            LDX(BPF_DW, 6, 1, 0),
            ST(BPF_W, 10, -4, 0),
            MOV_X(2, 10),
            ALU_K(BPF_ADD, 2, -4),
            LDMAP(1, 0),
            CALL(1), /* 6 */
            MOV_X(7, 0),
            MOV_X(0, 6), /* r0 is the context's word now, r7 the value */
            JMP_K(BPF_JEQ, 0, 0, 3),
            JMP_K(BPF_JNE, 7, 0, 4), /* always */
            MOV_K(0, 9),
            EXIT,
            MOV_K(0, 5),
            EXIT,
            MOV_K(0, 6),
            EXIT,
        };

        for (u64 word = 0; word < 2; word++) {
            struct engine e;

            ENGINE_INIT(&e, insns);
            engine_add_map(&e, BPF_MAP_TYPE_ARRAY, 4, 8, 1, 1);
            e.aux[6].const_map = 0;
            e.aux[6].const_key = 0;
            assert_int_equal(engine_vm(&e, &word, NULL), word ? 6 : 5);
            assert_int_equal(engine_jit(&e, &word, NULL), word ? 6 : 5);
            engine_clear(&e);
        }
    }
}

/* A stack slot that is read through a copy of the frame pointer must stay written. */
static void a_stack_that_is_read_stays(void **state)
{
    struct bpf_insn insns[] = {
        ST(BPF_DW, 10, -8, 42), MOV_X(3, 10), ALU_K(BPF_ADD, 3, -16), LDX(BPF_DW, 0, 3, 8), EXIT,
    };
    struct engine e;

    ENGINE_INIT(&e, insns);
    assert_int_equal(engine_vm(&e, NULL, NULL), 42);
    assert_int_equal(engine_jit(&e, NULL, NULL), 42);
    engine_clear(&e);
}

/* A dead two-slot load between the members of a group: its second slot is no instruction. */
static void groups_step_over_dead_loads(void **state)
{
    struct bpf_insn insns[] = {
        MOV_K(2, 7),          LD64(3, 0x1122334455667788),
        STX(BPF_DW, 1, 2, 0), MOV_K(2, 0),
        LDX(BPF_DW, 2, 1, 8), LD64(4, 0x1122334455667788),
        ALU_K(BPF_ADD, 2, 5), STX(BPF_DW, 1, 2, 8),
        MOV_K(0, 0),          EXIT,
    };
    u64 vm[2] = {1, 10}, jit[2] = {1, 10};
    struct engine e;

    ENGINE_INIT(&e, insns);
    engine_vm(&e, vm, NULL);
    engine_jit(&e, jit, NULL);
    assert_int_equal(vm[0], 7);
    assert_int_equal(vm[1], 15);
    assert_memory_equal(vm, jit, sizeof(vm));
    engine_clear(&e);
}

/* Halves of a register, as compilers cut them off that know no 32-bit registers: one instruction each, with the mov that comes
   before or without, and none where somebody jumps between the two shifts. */
static void halves_are_cut_off_at_once(void **state)
{
    static const struct {
        u8 op, from; /* from 0: no mov */
        u64 value, half;
    } rows[] = {
        {BPF_RSH, 1, 0x89abcdef87654321, 0x87654321},
        {BPF_RSH, 0, 0x89abcdef87654321, 0x87654321},
        {BPF_ARSH, 1, 0x89abcdef87654321, 0xffffffff87654321},
        {BPF_ARSH, 0, 0x89abcdef07654321, 0x07654321},
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++)
        for (u32 by = 31; by < 33; by++)
            for (u32 jumped = 0; jumped < 2; jumped++) {
                struct bpf_insn insns[] = {
                    MOV_K(0, 1),
                    LDX(BPF_DW, rows[i].from, 1, 0), /* r1 itself, or r0 at once */
                    MOV_K(3, 0),
                    rows[i].from ? MOV_X(0, 1) : MOV_K(4, 0),
                    ALU_K(BPF_LSH, 0, by),
                    ALU_K(rows[i].op, 0, 32),
                    JMP_K(BPF_JEQ, 3, 0, 1),
                    JA(jumped ? -3 : 0),
                    EXIT,
                };
                u64 value = rows[i].value;
                struct engine e;

                ENGINE_INIT(&e, insns);
                if (by == 32)
                    assert_int_equal(engine_vm(&e, &value, NULL), rows[i].half);
                assert_int_equal(engine_jit(&e, &value, NULL), engine_vm(&e, &value, NULL));
                /* The second shift is nowhere, or somewhere. */
                if (by == 32 && !jumped)
                    assert_int_equal(e.code.insn_off[5], e.code.insn_off[6]);
                else
                    assert_true(e.code.insn_off[5] < e.code.insn_off[6]);
                engine_clear(&e);
            }
}

/* A branch of which the verifier has come to one side only asks nothing, and what it would have asked for is not loaded. */
static void a_side_never_seen_is_not_asked_for(void **state)
{
    for (u32 taken = 0; taken < 2; taken++) {
        struct bpf_insn insns[] = {
            LDX(BPF_W, 2, 1, 0), JMP_K(BPF_JNE, 2, 0, 2), MOV_K(0, 1), EXIT, MOV_K(0, 2), EXIT};
        u32 dead = taken ? 2 : 4;
        struct engine e;

        ENGINE_INIT(&e, insns);
        e.aux[dead].live = e.aux[dead + 1].live = false;
        assert_int_equal(engine_vm(&e, &(u32){taken}, NULL), 1 + taken);
        assert_int_equal(engine_jit(&e, NULL, NULL), 1 + taken); /* there is nothing to be read */
        assert_int_equal(e.code.insn_off[0], e.code.insn_off[1]);
        assert_int_equal(e.code.text[e.code.insn_off[dead]], 0xcc);
        engine_clear(&e);
    }
}

/* Process and thread are read where they stand, and asked for wherever that may be another's: in a fork child, beside a vfork
   child, before they are known. */
static void who_runs_is_read_where_it_stands(void **state)
{
    struct bpf_insn insns[] = {MOV_K(6, 5), CALL(BPF_FUNC_get_current_pid_tgid), EXIT};
    struct tn_private *priv = calloc(1, sizeof(*priv));
    static __thread u32 own_tid;
    s32 off = (s32)((char *)&own_tid - (char *)tn_thread_pointer(NULL));
    const u64 asked = (u64)getpid() << 32 | (u32)gettid();
    const struct {
        bool proc, priv, tid;
        u64 armed;
        u32 pid;
        u64 expected;
    } rows[] = {
        {true, true, true, TN_ARMED, 77, 77ull << 32 | 88},
        {true, true, true, TN_ARMED, 0, (asked & ~0xffffffffull) | 88}, /* asked once, and remembered */
        {true, true, true, TN_ARMED | TN_VFORK_UNIT, 77, asked},
        {true, true, true, TN_ARMED_FORKED, 77, 77ull << 32 | (u32)asked},
        {true, true, false, TN_ARMED, 77, 77ull << 32 | (u32)asked},
        {true, false, true, TN_ARMED, 77, asked},
        {false, false, false, TN_ARMED, 77, asked},
    };

    assert_non_null(priv);
    own_tid = 88;
    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        struct tn_proc proc = {.priv = rows[i].priv ? priv : NULL,
                               .allowed_syscalls = ~0u,
                               .tp_how = TN_TP_SELF,
                               .tid_off = rows[i].tid ? off : 0};
        struct tn_run run = {.proc = rows[i].proc ? &proc : NULL, .cpu = -1};
        struct engine e;

        ENGINE_INIT(&e, insns);
        priv->armed = rows[i].armed;
        priv->pid = rows[i].pid;
        assert_int_equal(engine_vm(&e, NULL, &run), rows[i].expected);
        priv->pid = rows[i].pid;
        assert_int_equal(engine_jit(&e, NULL, &run), rows[i].expected);
        engine_clear(&e);
    }
    free(priv);
}

static void the_hook_is_read_inline(void **state)
{
    struct bpf_insn insns[] = {MOV_X(6, 1), CALL(BPF_FUNC_get_attach_cookie), MOV_X(7, 0),
                               MOV_X(1, 6), CALL(BPF_FUNC_get_func_ip),       ALU_X(BPF_XOR, 0, 7),
                               EXIT};
    struct tn_hook hook = {.cookie = 0x1234567800000000, .func_ip = 0x55aa};
    struct tn_run run = {.hook = &hook, .cpu = -1}, none = {.cpu = -1};
    struct engine e;

    ENGINE_INIT(&e, insns);
    assert_int_equal(engine_vm(&e, NULL, &run), 0x12345678000055aa);
    assert_int_equal(engine_jit(&e, NULL, &run), 0x12345678000055aa);
    assert_int_equal(engine_vm(&e, NULL, &none), 0);
    assert_int_equal(engine_jit(&e, NULL, &none), 0);
    assert_int_equal(e.code.npool, 0);
    engine_clear(&e);
}

/* ------------------------------------------------------------------------------------------------ shape */

static void unreached_code_is_a_trap(void **state)
{
    struct bpf_insn insns[] = {MOV_K(0, 1), JA(2), MOV_K(0, 2), MOV_K(0, 3), EXIT};
    struct engine e;

    ENGINE_INIT(&e, insns);
    e.aux[2].live = e.aux[3].live = false;
    assert_int_equal(engine_jit(&e, NULL, NULL), 1);
    assert_int_equal(e.code.text[e.code.insn_off[2]], 0xcc);
    for (u32 i = e.code.text_len - 64; i < e.code.text_len; i++)
        assert_int_equal(e.code.text[i], 0xcc);
    assert_int_equal(e.code.text_len % TN_PAGE, 0);
    assert_int_equal(e.code.pool_size % TN_PAGE, 0);
    engine_clear(&e);
}

/* Jumps over distances around what a short one reaches, forwards and backwards. */
static void jumps_are_short_where_they_can_be(void **state)
{
    for (u32 fill = 0; fill < 60; fill++) {
        struct bpf_insn insns[200];
        struct engine e;
        u32 n = 0, loop;

        insns[n++] = MOV_K(0, 0);
        insns[n++] = MOV_K(3, 3);
        loop = n;
        insns[n++] = JMP_K(BPF_JEQ, 3, 0, fill + 3);
        for (u32 i = 0; i < fill; i++)
            insns[n++] = ALU_K(BPF_ADD, 0, 1);
        insns[n++] = ALU_K(BPF_ADD, 0, 1000);
        insns[n++] = ALU_K(BPF_SUB, 3, 1);
        insns[n] = JA((s32)loop - (s32)n - 1);
        n++;
        insns[n++] = EXIT;
        engine_init(&e, insns, n);
        assert_int_equal(engine_vm(&e, NULL, NULL), 3 * (1000 + fill));
        assert_int_equal(engine_jit(&e, NULL, NULL), 3 * (1000 + fill));
        /* test r3 is two or three bytes; short jumps are two */
        if (fill < 25)
            assert_int_equal(e.code.insn_off[loop + 1] - e.code.insn_off[loop], 3 + 2);
        if (fill > 40)
            assert_int_equal(e.code.insn_off[loop + 1] - e.code.insn_off[loop], 3 + 6);
        engine_clear(&e);
    }
}

static void text_is_never_writable(void **state)
{
    struct bpf_insn insns[] = {MOV_K(0, 0), CALL(BPF_FUNC_get_prandom_u32), MOV_K(0, 0), EXIT};
    struct engine e;
    char line[512], *found = NULL;
    _fclose_ FILE *maps = NULL;
    u64 text;

    ENGINE_INIT(&e, insns);
    assert_int_equal(engine_jit(&e, NULL, NULL), 0);
    text = (uintptr_t)e.mapped.mem + e.code.pool_size;
    maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        unsigned long from, to;
        char perm[8];

        assert_int_equal(sscanf(line, "%lx-%lx %7s", &from, &to, perm), 3);
        if (from <= text && text < to) {
            found = line;
            assert_string_equal(perm, "r-xs");
        }
        if (from <= (uintptr_t)e.mapped.mem && (uintptr_t)e.mapped.mem < to)
            assert_string_equal(perm, "r--p");
    }
    assert_non_null(found);
    assert_int_equal(mprotect((void *)text, TN_PAGE, PROT_READ | PROT_WRITE), -1); /* sealed */
    engine_clear(&e);
}

static void refusals_name_the_instruction(void **state)
{
    static const struct {
        struct bpf_insn insn;
        int r;
        const char *reason;
    } cases[] = {
        {{.code = 0xff}, -ENOTSUP, "unknown_opcode"},
        {{.code = BPF_JMP | BPF_CALL, .imm = 9999}, -ENOTSUP, "unknown_helper"},
        {{.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = 1}, -ENOTSUP, "unknown_kfunc"},
        {{.code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = 10, .src_reg = 1, .off = -8, .imm = 0x77},
         -ENOTSUP,
         "unknown_atomic"},
        {{.code = BPF_JMP | BPF_JA, .off = 100}, -EINVAL, "jump_out_of_range"},
        {{.code = BPF_JMP | BPF_JA, .off = -100}, -EINVAL, "jump_out_of_range"},
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(cases); i++) {
        struct bpf_insn insns[] = {MOV_K(0, 0), cases[i].insn, EXIT};
        struct tn_code code = {.text_len = 77};
        struct tn_error err = {0};
        struct engine e;

        ENGINE_INIT(&e, insns);
        assert_int_equal(tn_jit(&e.prog, &code, &err), cases[i].r);
        assert_string_equal(err.reason, cases[i].reason);
        assert_int_equal(code.text_len, 77);
        engine_clear(&e);
    }
    {
        struct bpf_insn insns[] = {MOV_K(0, 0), CALL_FN(-2), EXIT};
        struct tn_code code;
        struct tn_error err = {0};
        struct engine e;

        ENGINE_INIT(&e, insns);
        assert_int_equal(tn_jit(&e.prog, &code, &err), -ENOTSUP); /* calls itself for ever */
        assert_string_equal(err.reason, "calls_too_deep");
        engine_clear(&e);
    }
}

static void the_interpreter_keeps_its_budget(void **state)
{
    struct bpf_insn insns[] = {MOV_K(0, 0), JA(-1), EXIT};
    struct tn_run run = {.cpu = -1};
    struct engine e;
    u64 r0 = 123;

    ENGINE_INIT(&e, insns);
    assert_int_equal(tn_vm_run(&e.prog, e.maps, NULL, &run, 10000, &r0), -ETIME);
    assert_int_equal(r0, 123);
    engine_clear(&e);
    {
        struct bpf_insn three[] = {MOV_K(0, 7), MOV_X(0, 0), EXIT};

        ENGINE_INIT(&e, three);
        assert_int_equal(tn_vm_run(&e.prog, e.maps, NULL, &run, 2, &r0), -ETIME);
        assert_int_equal(tn_vm_run(&e.prog, e.maps, NULL, &run, 3, &r0), 0);
        assert_int_equal(r0, 7);
        engine_clear(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_call_each_other),
        cmocka_unit_test(helpers_keep_what_they_must),
        cmocka_unit_test(unwritten_slots_are_cleared),
        cmocka_unit_test(loops_go_round),
        cmocka_unit_test(loops_nest),
        cmocka_unit_test(a_round_is_cheap),
        cmocka_unit_test(functions_are_chosen),
        cmocka_unit_test(elements_are_gone_through),
        cmocka_unit_test(maps_may_change_meanwhile),
        cmocka_unit_test(hostile_maps_end),
        cmocka_unit_test(values_are_reached_directly),
        cmocka_unit_test(inlined_lookups_are_lookups),
        cmocka_unit_test(known_indices_are_addresses),
        cmocka_unit_test(a_counter_is_a_handful_of_instructions),
        cmocka_unit_test(a_null_check_of_something_else_stays),
        cmocka_unit_test(a_stack_that_is_read_stays),
        cmocka_unit_test(groups_step_over_dead_loads),
        cmocka_unit_test(halves_are_cut_off_at_once),
        cmocka_unit_test(a_side_never_seen_is_not_asked_for),
        cmocka_unit_test(who_runs_is_read_where_it_stands),
        cmocka_unit_test(the_hook_is_read_inline),
        cmocka_unit_test(unreached_code_is_a_trap),
        cmocka_unit_test(jumps_are_short_where_they_can_be),
        cmocka_unit_test(text_is_never_writable),
        cmocka_unit_test(refusals_name_the_instruction),
        cmocka_unit_test(the_interpreter_keeps_its_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
