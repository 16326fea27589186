/* SPDX-License-Identifier: MIT */
/*
 * What the encoder writes, read back by a decoder that somebody else wrote (Zydis): a row is one call, the
 * text it must decode to and how many bytes it may take. Sweeps over all registers, displacements and sizes
 * follow, since the format's special cases (rsp, r12, rbp, r13, spl…) are where encoders go wrong.
 */
// clang-format off
#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/encode.h"

#define AT 0x1000 /* pretended address of the buffer's first byte */

/* Decodes the instruction at `off`; its text goes to `text`. Returns the length, 0 when it is none. */
static u32 decode(const struct tn_asm *a, u32 off, char *text, size_t size)
{
    ZydisDisassembledInstruction in;

    if (!ZYAN_SUCCESS(
            ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, AT + off, a->buf + off, a->len - off, &in)))
        return 0;
    snprintf(text, size, "%s", in.text);
    return in.info.length;
}

// clang-format off
#define ROWS(R) \
    R(mov_rr(a, 8, TN_RAX, TN_R15),                    "mov rax, r15", 3) \
    R(mov_rr(a, 4, TN_R8, TN_RDI),                     "mov r8d, edi", 3) \
    R(mov_ri(a, TN_RCX, 0),                            "mov ecx, 0x00", 5) \
    R(mov_ri(a, TN_R9, 0xffffffff),                    "mov r9d, 0xFFFFFFFF", 6) \
    R(mov_ri(a, TN_RBX, (u64)-2),                      "mov rbx, 0xFFFFFFFFFFFFFFFE", 7) \
    R(mov_ri(a, TN_R13, (u64)-1),                      "mov r13, 0xFFFFFFFFFFFFFFFF", 7) \
    R(mov_ri(a, TN_RSI, 0x123456789abcdef0),           "mov rsi, 0x123456789ABCDEF0", 10) \
    R(mov_ri(a, TN_R14, 0x100000000),                  "mov r14, 0x100000000", 10) \
    R(zero(a, TN_RAX),                                 "xor eax, eax", 2) \
    R(zero(a, TN_R11),                                 "xor r11d, r11d", 3) \
    R(load(a, 8, TN_RAX, tn_mem_base(TN_RDI, 0)),      "mov rax, [rdi]", 3) \
    R(load(a, 4, TN_R10, tn_mem_base(TN_R12, 8)),      "mov r10d, [r12+0x08]", 5) \
    R(load(a, 2, TN_RDX, tn_mem_base(TN_RBP, -2)),     "movzx edx, word ptr [rbp-0x02]", 4) \
    R(load(a, 1, TN_RDX, tn_mem_base(TN_R13, 0)),      "movzx edx, byte ptr [r13]", 5) \
    R(load_sx(a, 1, TN_RDX, tn_mem_base(TN_R8, 300)),  "movsx rdx, byte ptr [r8+0x12C]", 8) \
    R(load_sx(a, 2, TN_R9, tn_mem_base(TN_RSI, 1)),    "movsx r9, word ptr [rsi+0x01]", 5) \
    R(load_sx(a, 4, TN_RBX, tn_mem_base(TN_RSI, 1)),   "movsxd rbx, dword ptr [rsi+0x01]", 4) \
    R(load(a, 8, TN_R11, tn_mem_fs(0)),                "mov r11, fs:[0x0000000000000000]", 9) \
    R(load(a, 4, TN_R11, tn_mem_fs_base(TN_R11, 0)),   "mov r11d, fs:[r11]", 4) \
    R(load(a, 8, TN_RDX, tn_mem_fs_base(TN_R13, -8)),  "mov rdx, fs:[r13-0x08]", 5) \
    R(load(a, 8, TN_R11, tn_mem_pos(-8)),              "mov r11, [0x0000000000000FF8]", 7) \
    R(store(a, 1, tn_mem_base(TN_RBP, -1), TN_RSI),    "mov [rbp-0x01], sil", 4) \
    R(store(a, 1, tn_mem_base(TN_RAX, 0), TN_RDX),     "mov [rax], dl", 2) \
    R(store(a, 2, tn_mem_base(TN_RSP, 2), TN_R8),      "mov [rsp+0x02], r8w", 6) \
    R(store(a, 4, tn_mem_base(TN_RAX, 0), TN_RBX),     "mov [rax], ebx", 2) \
    R(store(a, 8, tn_mem_index(TN_RAX, TN_R9, 8, 16), TN_RBX), "mov [rax+r9*8+0x10], rbx", 5) \
    R(store(a, 8, tn_mem_index(TN_R13, TN_RBP, 1, 0), TN_RBX), "mov [r13+rbp*1], rbx", 5) \
    R(store_i(a, 1, tn_mem_base(TN_RDI, 0), -1),       "mov byte ptr [rdi], 0xFF", 3) \
    R(store_i(a, 2, tn_mem_base(TN_RDI, 0), 0x1234),   "mov word ptr [rdi], 0x1234", 5) \
    R(store_i(a, 4, tn_mem_base(TN_RBP, -4), 0),       "mov dword ptr [rbp-0x04], 0x00", 7) \
    R(store_i(a, 8, tn_mem_base(TN_RBP, -8), -5),      "mov qword ptr [rbp-0x08], 0xFFFFFFFFFFFFFFFB", 8) \
    R(lea(a, TN_RSI, tn_mem_base(TN_RBP, -4)),         "lea rsi, [rbp-0x04]", 4) \
    R(lea(a, TN_RAX, tn_mem_pos(0x100)),               "lea rax, [0x0000000000001100]", 7) \
    R(movzx_rr(a, 1, TN_RAX, TN_RDI),                  "movzx eax, dil", 4) \
    R(movzx_rr(a, 2, TN_RAX, TN_R9),                   "movzx eax, r9w", 4) \
    R(movzx_rr(a, 4, TN_RAX, TN_RCX),                  "mov eax, ecx", 2) \
    R(movsx_rr(a, 8, 1, TN_RAX, TN_RSI),               "movsx rax, sil", 4) \
    R(movsx_rr(a, 4, 1, TN_RAX, TN_RSI),               "movsx eax, sil", 4) \
    R(movsx_rr(a, 4, 2, TN_RCX, TN_RDX),               "movsx ecx, dx", 3) \
    R(movsx_rr(a, 8, 4, TN_RCX, TN_R8),                "movsxd rcx, r8d", 3) \
    R(xchg_rr(a, 8, TN_RAX, TN_R13),                   "xchg rax, r13", 3) \
    R(cmov_rr(a, 8, TN_CC_B, TN_RAX, TN_R10),          "cmovb rax, r10", 4) \
    R(setcc(a, TN_CC_NE, TN_RSI),                      "setnz sil", 4) \
    R(alu_rr(a, 8, TN_ADD, TN_RAX, TN_RBX),            "add rax, rbx", 3) \
    R(alu_rr(a, 4, TN_CMP, TN_R9, TN_R10),             "cmp r9d, r10d", 3) \
    R(alu_ri(a, 8, TN_ADD, TN_RSI, -4),                "add rsi, 0xFFFFFFFFFFFFFFFC", 4) \
    R(alu_ri(a, 4, TN_AND, TN_RAX, 0x1234),            "and eax, 0x1234", 5) \
    R(alu_ri(a, 8, TN_SUB, TN_RAX, 0x1234),            "sub rax, 0x1234", 6) \
    R(alu_ri(a, 8, TN_XOR, TN_R8, 0x1234),             "xor r8, 0x1234", 7) \
    R(alu_ri(a, 4, TN_CMP, TN_RAX, 5),                 "cmp eax, 0x05", 3) \
    R(alu_rm(a, 8, TN_ADD, TN_RAX, tn_mem_pos(-16)),   "add rax, [0x0000000000000FF0]", 7) \
    R(alu_mr(a, 8, TN_ADD, tn_mem_base(TN_RAX, 0), TN_RCX), "add [rax], rcx", 3) \
    R(alu_mr(a, 1, TN_OR, tn_mem_base(TN_RAX, 0), TN_RDI), "or [rax], dil", 3) \
    R(alu_mi(a, 8, TN_ADD, tn_mem_base(TN_RAX, 0), 1), "add qword ptr [rax], 0x01", 4) \
    R(alu_mi(a, 4, TN_SUB, tn_mem_base(TN_R12, 0), 1000), "sub dword ptr [r12], 0x3E8", 8) \
    R(alu_mi(a, 2, TN_CMP, tn_mem_base(TN_RAX, 0), 1000), "cmp word ptr [rax], 0x3E8", 5) \
    R(alu_mi(a, 1, TN_CMP, tn_mem_pos(0x200), 0),      "cmp byte ptr [0x0000000000001200], 0x00", 7) \
    R(alu_mi(a, 8, TN_CMP, tn_mem_pos(0x200), 1),      "cmp qword ptr [0x0000000000001200], 0x01", 8) \
    R(alu_mi(a, 8, TN_CMP, tn_mem_pos(0x200), 0x12345678), "cmp qword ptr [0x0000000000001200], 0x12345678", 11) \
    R(inc_m(a, 8, tn_mem_base(TN_RAX, 0)),             "inc [rax]", 3) \
    R(dec_m(a, 4, tn_mem_base(TN_R9, 4)),              "dec [r9+0x04]", 4) \
    R(test_rr(a, 8, TN_R11, TN_R11),                   "test r11, r11", 3) \
    R(test_ri(a, 8, TN_RSI, 1),                        "test sil, 0x01", 4) \
    R(test_ri(a, 8, TN_RAX, 0x40),                     "test al, 0x40", 2) \
    R(test_ri(a, 8, TN_RAX, 0x80),                     "test eax, 0x80", 5) \
    R(test_ri(a, 8, TN_RCX, -1),                       "test rcx, 0xFFFFFFFFFFFFFFFF", 7) \
    R(test_ri(a, 4, TN_R9, -1),                        "test r9d, 0xFFFFFFFF", 7) \
    R(test_mi(a, 1, tn_mem_base(TN_RAX, 3), 1),        "test byte ptr [rax+0x03], 0x01", 4) \
    R(unary(a, 8, TN_DIV, TN_R11),                     "div r11", 3) \
    R(unary(a, 4, TN_IDIV, TN_RBX),                    "idiv ebx", 2) \
    R(unary(a, 8, TN_NEG, TN_RAX),                     "neg rax", 3) \
    R(unary(a, 4, TN_NOT, TN_R8),                      "not r8d", 3) \
    R(imul_rr(a, 8, TN_R9, TN_RAX),                    "imul r9, rax", 4) \
    R(imul_rri(a, 4, TN_RAX, TN_RAX, 24),              "imul eax, eax, 0x18", 3) \
    R(imul_rri(a, 8, TN_RAX, TN_R8, 1024),             "imul rax, r8, 0x400", 7) \
    R(sign_rdx(a, 8),                                  "cqo", 2) \
    R(sign_rdx(a, 4),                                  "cdq", 1) \
    R(shift_i(a, 8, TN_SHL, TN_RAX, 3),                "shl rax, 0x03", 4) \
    R(shift_i(a, 8, TN_SAR, TN_R9, 1),                 "sar r9, 0x01", 3) \
    R(shift_i(a, 2, TN_ROL, TN_RCX, 8),                "rol cx, 0x08", 4) \
    R(shift_cl(a, 4, TN_SHR, TN_RDX),                  "shr edx, cl", 2) \
    R(bswap(a, 4, TN_R10),                             "bswap r10d", 3) \
    R(bswap(a, 8, TN_RDI),                             "bswap rdi", 3) \
    R(bit_ri(a, 8, TN_BT, TN_RAX, 40),                 "bt rax, 0x28", 5) \
    R(bit_mi(a, 8, TN_BTS, tn_mem_base(TN_RCX, 16), 33), "bts qword ptr [rcx+0x10], 0x21", 6) \
    R(bit_mi(a, 8, TN_BTR, tn_mem_pos(0x100), 1),      "btr qword ptr [0x0000000000001100], 0x01", 9) \
    R(xchg_mr(a, 8, tn_mem_base(TN_RDI, 0), TN_RAX),   "xchg [rdi], rax", 3) \
    R(push(a, TN_RBX),                                 "push rbx", 1) \
    R(push(a, TN_R12),                                 "push r12", 2) \
    R(pop(a, TN_R15),                                  "pop r15", 2) \
    R(push_i(a, 1),                                    "push 0x01", 2) \
    R(push_i(a, 0x12345),                              "push 0x12345", 5) \
    R(push_m(a, tn_mem_pos(0x40)),                     "push [0x0000000000001040]", 6) \
    R(pop_m(a, tn_mem_base(TN_RSP, 8)),                "pop [rsp+0x08]", 4) \
    R(pushf(a),                                        "pushfq", 1) \
    R(popf(a),                                         "popfq", 1) \
    R(leave(a),                                        "leave", 1) \
    R(ret(a),                                          "ret", 1) \
    R(int3(a),                                         "int3", 1) \
    R(ud2(a),                                          "ud2", 2) \
    R(syscall(a),                                      "syscall", 2) \
    R(endbr64(a),                                      "endbr64", 4) \
    R(mfence(a),                                       "mfence", 3) \
    R(jmp(a, 0, 0),                                    "jmp 0x0000000000001000", 2) \
    R(jmp(a, 0, 129),                                  "jmp 0x0000000000001081", 2) \
    R(jmp(a, 0, 130),                                  "jmp 0x0000000000001082", 5) \
    R(jmp(a, 0, -126),                                 "jmp 0x0000000000000F82", 2) \
    R(jmp(a, 0, -127),                                 "jmp 0x0000000000000F81", 5) \
    R(jmp(a, 4, 5),                                    "jmp 0x0000000000001005", 5) \
    R(jcc(a, 0, TN_CC_E, 10),                          "jz 0x000000000000100A", 2) \
    R(jcc(a, 0, TN_CC_A, 0x1000),                      "jnbe 0x0000000000002000", 6) \
    R(jcc(a, 4, TN_CC_L, -0x800),                      "jl 0x0000000000000800", 6) \
    R(call(a, -0x1000),                                "call 0x0000000000000000", 5) \
    R(call_m(a, tn_mem_pos(-8)),                       "call [0x0000000000000FF8]", 6) \
    R(call_r(a, TN_R11),                               "call r11", 3) \
    R(jmp_m(a, tn_mem_pos(0x20)),                      "jmp [0x0000000000001020]", 6) \
    R(jmp_m(a, tn_mem_base(TN_R12, 40)),               "jmp [r12+0x28]", 5) \
    R(jmp_r(a, TN_RAX),                                "jmp rax", 2) \
    R(nop(a, 5),                                       "nop [rax+rax*1], eax", 5)

#define LOCKED(R) \
    R(alu_mr(a, 8, TN_ADD, tn_mem_base(TN_RAX, 0), TN_RDI), "lock add [rax], rdi", 4) \
    R(alu_mi(a, 4, TN_OR, tn_mem_base(TN_RAX, 0), 1),       "lock or dword ptr [rax], 0x01", 4) \
    R(xadd_mr(a, 8, tn_mem_base(TN_RBP, -8), TN_RSI),       "lock xadd [rbp-0x08], rsi", 6) \
    R(xadd_mr(a, 4, tn_mem_base(TN_R13, 0), TN_R9),         "lock xadd [r13], r9d", 6) \
    R(cmpxchg_mr(a, 8, tn_mem_base(TN_RDI, 0), TN_RCX),     "lock cmpxchg [rdi], rcx", 5) \
    R(cmpxchg_mr(a, 4, tn_mem_pos(0), TN_R11),              "lock cmpxchg [0x0000000000001000], r11d", 9) \
    R(inc_m(a, 8, tn_mem_base(TN_RAX, 0)),                  "lock inc [rax]", 4) \
    R(bit_mi(a, 8, TN_BTS, tn_mem_base(TN_RAX, 0), 7),      "lock bts qword ptr [rax], 0x07", 6)
// clang-format on

static void check_row(struct tn_asm *a, const char *what, const char *expect, u32 len)
{
    char text[160] = "";
    u32 got;

    assert_int_equal(a->err, 0);
    got = decode(a, 0, text, sizeof(text));
    if (got != len || a->len != len || strcmp(text, expect))
        fail_msg("%s: got '%s' (%u of %u bytes), expected '%s' (%u)", what, text, got, a->len, expect, len);
}

static void rows_decode_to_what_was_asked(void **state)
{
    struct tn_asm own, *a = &own;

#define R(call, text, bytes)                                                                                 \
    tn_asm_grow(a);                                                                                          \
    tn_x86_##call;                                                                                           \
    check_row(a, #call, text, bytes);                                                                        \
    tn_asm_clear(a);
    ROWS(R)
#undef R
#define R(call, text, bytes)                                                                                 \
    tn_asm_grow(a);                                                                                          \
    tn_x86_lock(a);                                                                                          \
    tn_x86_##call;                                                                                           \
    check_row(a, "lock " #call, text, bytes);                                                                \
    tn_asm_clear(a);
    LOCKED(R)
#undef R
}

/* Every base, index, scale and class of displacement; the operands are compared as values, not as text. */
static void sweep_addresses(void **state)
{
    static const s32 disps[] = {0, 1, -1, 127, 128, -128, -129, INT32_MAX, INT32_MIN};
    ZydisDisassembledInstruction in;
    struct tn_asm a;
    u32 n = 0;

    for (u32 base = 0; base < 16; base++)
        for (u32 index = 0; index < 17; index++)
            for (u32 d = 0; d < TN_ARRAY_SIZE(disps); d++)
                for (u32 size = 1; size <= 8; size *= 2) {
                    u32 reg = (base + index + d) % 16;
                    u8 scale = (u8)(1 << (d % 4));

                    if (index == TN_RSP)
                        continue;
                    tn_asm_grow(&a);
                    tn_x86_store(&a, size,
                                 index == 16 ? tn_mem_base(base, disps[d])
                                             : tn_mem_index(base, index, scale, disps[d]),
                                 reg);
                    assert_int_equal(a.err, 0);
                    assert_true(ZYAN_SUCCESS(
                        ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, AT, a.buf, a.len, &in)));
                    assert_int_equal(in.info.length, a.len);
                    assert_int_equal(in.info.mnemonic, ZYDIS_MNEMONIC_MOV);
                    assert_int_equal(in.operands[0].size, size * 8);
                    assert_int_equal(in.operands[0].mem.base, ZYDIS_REGISTER_RAX + base);
                    if (index < 16) {
                        assert_int_equal(in.operands[0].mem.index, ZYDIS_REGISTER_RAX + index);
                        assert_int_equal(in.operands[0].mem.scale, scale);
                    } else {
                        assert_int_equal(in.operands[0].mem.index, ZYDIS_REGISTER_NONE);
                    }
                    assert_true(in.operands[0].mem.disp.value == disps[d]);
                    assert_int_equal(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64,
                                                                      in.operands[1].reg.value),
                                     ZYDIS_REGISTER_RAX + reg);
                    assert_int_equal(
                        ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, in.operands[1].reg.value),
                        size * 8);
                    tn_asm_clear(&a);
                    n++;
                }
    assert_int_equal(n, 16 * 16 * TN_ARRAY_SIZE(disps) * 4);
}

/* All pairs of registers, through a move between them and a byte extension (where spl…dil matter). */
static void sweep_registers(void **state)
{
    ZydisDisassembledInstruction in;
    struct tn_asm a;

    for (u32 x = 0; x < 16; x++)
        for (u32 y = 0; y < 16; y++) {
            tn_asm_grow(&a);
            tn_x86_mov_rr(&a, 8, x, y);
            assert_true(
                ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, AT, a.buf, a.len, &in)));
            assert_int_equal(in.operands[0].reg.value, ZYDIS_REGISTER_RAX + x);
            assert_int_equal(in.operands[1].reg.value, ZYDIS_REGISTER_RAX + y);
            a.len = 0;
            tn_x86_movsx_rr(&a, 8, 1, x, y);
            assert_true(
                ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, AT, a.buf, a.len, &in)));
            assert_int_equal(in.operands[0].reg.value, ZYDIS_REGISTER_RAX + x);
            assert_int_equal(
                ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, in.operands[1].reg.value),
                ZYDIS_REGISTER_RAX + y);
            assert_int_equal(ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, in.operands[1].reg.value), 8);
            tn_asm_clear(&a);
        }
}

static void forward_branches_are_bound(void **state)
{
    struct tn_asm a;
    struct tn_fixup near, far, call, lea;
    char text[160];

    tn_asm_grow(&a);
    near = tn_x86_jcc_fwd(&a, 1, TN_CC_NE);
    far = tn_x86_jmp_fwd(&a, 4);
    call = tn_x86_call_fwd(&a);
    lea = tn_x86_lea_fwd(&a, TN_R12);
    tn_x86_bind(&a, near);
    tn_x86_nop(&a, 200);
    tn_x86_bind(&a, far);
    tn_x86_bind(&a, call);
    tn_x86_bind_to(&a, lea, -0x10);
    assert_int_equal(a.err, 0);
    assert_int_equal(decode(&a, 0, text, sizeof(text)), 2);
    assert_string_equal(text, "jnz 0x0000000000001013");
    assert_int_equal(decode(&a, 2, text, sizeof(text)), 5);
    assert_string_equal(text, "jmp 0x00000000000010DB");
    assert_int_equal(decode(&a, 7, text, sizeof(text)), 5);
    assert_string_equal(text, "call 0x00000000000010DB");
    assert_int_equal(decode(&a, 12, text, sizeof(text)), 7);
    assert_string_equal(text, "lea r12, [0x0000000000000FF0]");
    tn_asm_clear(&a);
}

static void nops_have_the_length_asked_for(void **state)
{
    struct tn_asm a;
    char text[160];

    for (u32 len = 1; len < 40; len++) {
        u32 off = 0;

        tn_asm_grow(&a);
        tn_x86_nop(&a, len);
        assert_int_equal(a.len, len);
        while (off < len) {
            u32 n = decode(&a, off, text, sizeof(text));

            assert_true(n > 0);
            assert_int_equal(strncmp(text, "nop", 3), 0);
            off += n;
        }
        assert_int_equal(off, len);
        tn_asm_clear(&a);
    }
}

/* An error sticks, names itself, and leaves no half instruction. */
static void errors_stick(void **state)
{
    u8 small[8];
    struct tn_asm a;
    struct tn_fixup f;

    tn_asm_fixed(&a, small, sizeof(small));
    tn_x86_mov_rr(&a, 8, TN_RAX, TN_RBX);
    tn_x86_mov_rr(&a, 8, TN_RAX, TN_RBX);
    tn_x86_load(&a, 8, TN_RAX, tn_mem_base(TN_RBX, 1));
    assert_int_equal(a.err, -ENOSPC);
    assert_int_equal(a.len, 6);
    tn_x86_ret(&a);
    assert_int_equal(a.len, 6);

    tn_asm_grow(&a);
    f = tn_x86_jmp_fwd(&a, 1);
    tn_x86_nop(&a, 128);
    tn_x86_bind(&a, f);
    assert_int_equal(a.err, -ERANGE);
    tn_asm_clear(&a);

    tn_x86_jmp(&a, 1, 200);
    assert_int_equal(a.err, -ERANGE);
    tn_asm_clear(&a);

    tn_x86_load(&a, 8, TN_RAX, tn_mem_pos((s64)1 << 31 | 1 << 20));
    assert_int_equal(a.err, -ERANGE);
    assert_int_equal(a.len, 0);
    tn_asm_clear(&a);

    tn_x86_load(&a, 8, TN_RAX, tn_mem_index(TN_RAX, TN_RSP, 1, 0));
    assert_int_equal(a.err, -EINVAL);
    tn_asm_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_decode_to_what_was_asked),
        cmocka_unit_test(sweep_addresses),
        cmocka_unit_test(sweep_registers),
        cmocka_unit_test(forward_branches_are_bound),
        cmocka_unit_test(nops_have_the_length_asked_for),
        cmocka_unit_test(errors_stick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
