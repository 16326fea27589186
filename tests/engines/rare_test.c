/* SPDX-License-Identifier: MIT */
/*
 * Instructions that few programs have: loads that acquire and stores that release, loops bounded by may_goto,
 * the packet loads of classic BPF. Both engines, each result known beforehand.
 */
#include "engine.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <sys/mman.h>

#define MAY_GOTO(off)      I(BPF_JMP | BPF_JCOND, 0, 0, off, 0)
#define LD_ABS(size, k)    I(BPF_LD | BPF_ABS | (size), 0, 0, 0, k)
#define LD_IND(size, s, k) I(BPF_LD | BPF_IND | (size), 0, s, 0, k)

static void both(struct bpf_insn *insns, u32 n, void *ctx, u64 expected)
{
    struct engine e;

    engine_init(&e, insns, n);
    assert_int_equal(engine_vm(&e, ctx, NULL), expected);
    assert_int_equal(engine_jit(&e, ctx, NULL), expected);
    engine_clear(&e);
}

static void acquire_and_release(void **state)
{
    static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
    static const u64 masks[] = {0xff, 0xffff, 0xffffffff, UINT64_MAX};

    for (u32 k = 0; k < 4; k++)
        for (u8 base = 1; base < 10; base++) {
            u8 value = base == 3 ? 4 : 3, got = base == 0 ? 1 : 0;
            u64 memory[3] = {0x1122334455667788, 0x8899aabbccddeeff, 0x0102030405060708};
            struct bpf_insn insns[] = {
                MOV_X(base, 1),
                LD64(value, 0xfedcba9876543210),
                ATOMIC(sizes[k], base, value, 8, BPF_STORE_REL),
                ATOMIC(sizes[k], got, base, 0, BPF_LOAD_ACQ),
                ATOMIC(sizes[k], base, base, 16, BPF_LOAD_ACQ), /* its own base */
                ALU_X(BPF_XOR, 0, base),
                EXIT,
            };

            both(insns, TN_ARRAY_SIZE(insns), memory,
                 (0x1122334455667788 & masks[k]) ^ (0x0102030405060708 & masks[k]));
            assert_int_equal(memory[0], 0x1122334455667788);
            assert_int_equal(memory[1], (0x8899aabbccddeeff & ~masks[k]) | (0xfedcba9876543210 & masks[k]));
            assert_int_equal(memory[2], 0x0102030405060708);
        }
}

/* Goes round as often as it may, and no more; the counter is the function's own, and stays where it is. */
static void may_goto_ends_loops(void **state)
{
    struct bpf_insn forever[] = {
        MOV_K(0, 0), MAY_GOTO(2), ALU_K(BPF_ADD, 0, 1), JA(-3), EXIT,
    };
    struct bpf_insn stops_before[] = {
        MOV_K(0, 0), MAY_GOTO(3), ALU_K(BPF_ADD, 0, 1), JMP_K(BPF_JEQ, 0, 1000, 1), JA(-4), EXIT,
    };
    struct bpf_insn shared[] = {
        /* Two loops of one function share its rounds; a store to the stack does not touch them. */
        MOV_K(0, 0),
        ST(BPF_DW, 10, -8, -1),
        MAY_GOTO(3),
        ALU_K(BPF_ADD, 0, 1),
        JMP_K(BPF_JEQ, 0, 1000, 1),
        JA(-4),
        MAY_GOTO(3),
        ALU_K(BPF_ADD, 0, 1),
        ST(BPF_DW, 10, -8, -1),
        JA(-4),
        LDX(BPF_DW, 1, 10, -8),
        ALU_X(BPF_ADD, 0, 1),
        EXIT,
    };
    struct bpf_insn callee[] = {
        /* Each call has rounds of its own. */
        CALL_FN(4),
        MOV_X(6, 0),
        CALL_FN(2),
        ALU_X(BPF_ADD, 0, 6),
        EXIT,
        MOV_K(0, 0),
        MAY_GOTO(3),
        ALU_K(BPF_ADD, 0, 1),
        JMP_K(BPF_JEQ, 0, TN_MAY_GOTO_MAX, 1),
        JA(-4),
        EXIT,
    };

    both(forever, TN_ARRAY_SIZE(forever), NULL, TN_MAY_GOTO_MAX);
    both(stops_before, TN_ARRAY_SIZE(stops_before), NULL, 1000);
    both(shared, TN_ARRAY_SIZE(shared), NULL, TN_MAY_GOTO_MAX - 1);
    both(callee, TN_ARRAY_SIZE(callee), NULL, 2ull * TN_MAY_GOTO_MAX);
}

#define FRAME 60u

struct scene {
    struct tn_skb *skb;
    u8 *frame;
};

static struct scene scene_make(u32 net)
{
    u8 *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    struct scene s = {.skb = (struct tn_skb *)page, .frame = page + 4096 - FRAME};

    assert_true(page != MAP_FAILED);
    assert_int_equal(mprotect(page + 4096, 4096, PROT_NONE), 0); /* one byte too far is a fault */
    for (u32 i = 0; i < FRAME; i++)
        s.frame[i] = (u8)(0x81 + 3 * i);
    s.skb->mac = (u32)(uintptr_t)s.frame;
    s.skb->net = s.skb->mac + 14;
    s.skb->user.data = net ? s.skb->net : s.skb->mac;
    s.skb->user.data_end = s.skb->mac + FRAME;
    return s;
}

static void packet_loads(void **state)
{
    static const s32 offsets[] = {0,
                                  1,
                                  13,
                                  43,
                                  45,
                                  46,
                                  56,
                                  57,
                                  59,
                                  60,
                                  61,
                                  INT32_MAX,
                                  INT32_MIN,
                                  -1,
                                  -4,
                                  SKF_NET_OFF,
                                  SKF_NET_OFF + 5,
                                  SKF_NET_OFF + 42,
                                  SKF_NET_OFF + 46,
                                  SKF_LL_OFF,
                                  SKF_LL_OFF + 12,
                                  SKF_LL_OFF + 57,
                                  SKF_LL_OFF + 60,
                                  SKF_LL_OFF - 1,
                                  SKF_NET_OFF - 1};
    static const u8 sizes[] = {BPF_B, BPF_H, BPF_W};

    for (u32 net = 0; net < 2; net++) {
        struct scene s = scene_make(net);

        for (u32 z = 0; z < 3; z++)
            for (u32 o = 0; o < TN_ARRAY_SIZE(offsets); o++)
                for (u32 ind = 0; ind < 4; ind++) {
                    s64 at = offsets[o] >= 0             ? (s64)offsets[o] + (net ? 14 : 0)
                             : offsets[o] >= SKF_NET_OFF ? (s64)offsets[o] - SKF_NET_OFF + 14
                             : offsets[o] >= SKF_LL_OFF  ? (s64)offsets[o] - SKF_LL_OFF
                                                         : FRAME;
                    u32 bytes = 1u << z;
                    u64 value = 0;
                    bool there = at + bytes <= FRAME;
                    s32 part = (s32[]){0, 7, -100, INT32_MAX}[ind];
                    /* Saved registers are the caller's again, whichever way the function ends. */
                    struct bpf_insn insns[] = {
                        MOV_X(6, 1),
                        MOV_K(7, 1000),
                        MOV_K(0, 5),
                        CALL_FN(3), /* 3 → 7 */
                        ALU_X(BPF_ADD, 0, 7),
                        JMP_X(BPF_JEQ, 6, 6, 0),
                        EXIT,
                        MOV_X(6, 1),
                        MOV_K(7, 2),
                        MOV_K(2, (s32)((u32)offsets[o] - (u32)part)),
                        ind ? LD_IND(sizes[z], 2, part) : LD_ABS(sizes[z], offsets[o]),
                        ALU_K(BPF_ADD, 0, 1),
                        EXIT,
                    };

                    for (u32 k = 0; there && k < bytes; k++)
                        value = value << 8 | s.frame[at + k];
                    both(insns, TN_ARRAY_SIZE(insns), s.skb, there ? value + 1001 : 1000);
                }
        munmap(s.skb, 8192);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acquire_and_release),
        cmocka_unit_test(may_goto_ends_loops),
        cmocka_unit_test(packet_loads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
