/* SPDX-License-Identifier: MIT */
/*
 * Usual instructions are decoded by tables of our own, all others by the library: wherever ours answer, they answer as
 * the library does, to the last field. All bytes of large modules as they are, as if an instruction began at each, and
 * with a byte of it changed.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rewrite/module.h"
#include "x86/common.h"

struct tally {
    u64 tried, answered;
};

static void compare(const u8 *bytes, u64 len, u64 addr, struct tally *t)
{
    struct tn_insn ours = {0}, theirs = {0};
    u8 step = tn_x86_step(bytes, len);
    bool valid = tn_x86_decode_slow(bytes, len, addr, &theirs) == 0;

    t->tried++;
    if (step != (valid ? tn_step_of(&theirs) : 0))
        fail_msg("%02x %02x %02x %02x %02x %02x: step %02x, not %02x", bytes[0], bytes[1], bytes[2], bytes[3],
                 bytes[4], bytes[5], step, tn_step_of(&theirs));
    if (!tn_decode_common(bytes, (u32)TN_MIN(len, 15u), addr, &ours))
        return;
    t->answered++;
    if (!valid || memcmp(&ours, &theirs, sizeof(ours)) != 0)
        fail_msg(
            "%02x %02x %02x %02x %02x %02x %02x %02x %02x %02x (%lu bytes): len %u %u, kind %u %u, imm %lx "
            "%lx, disp %lx %lx, mem %u %u, modrm %u %u, op %x %x",
            bytes[0], len > 1 ? bytes[1] : 0, len > 2 ? bytes[2] : 0, len > 3 ? bytes[3] : 0,
            len > 4 ? bytes[4] : 0, len > 5 ? bytes[5] : 0, len > 6 ? bytes[6] : 0, len > 7 ? bytes[7] : 0,
            len > 8 ? bytes[8] : 0, len > 9 ? bytes[9] : 0, (unsigned long)len, ours.len, theirs.len,
            ours.kind, theirs.kind, (long)ours.imm, (long)theirs.imm, (long)ours.disp, (long)theirs.disp,
            ours.mem_off, theirs.mem_off, ours.modrm_off, theirs.modrm_off, ours.op, theirs.op);
}

static void same_in(const char *path, u32 every)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct tally all = {0}, swept = {0}, changed = {0};
    struct tn_module *m = NULL;
    u32 random = 12345;

    assert_true(fd >= 0);
    assert_int_equal(tn_module_open(fd, &m, NULL), 0);
    for (u32 k = 0; k < tn_module_ncode(m); k++) {
        const struct tn_code_view *c = tn_module_code_at(m, k);
        struct tn_insn i;

        for (u64 off = 0; off < c->len; off += every)
            compare(c->bytes + off, c->len - off, c->addr + off, &all);
        for (u64 off = 0; off + 16 < c->len; off += every) {
            u8 bytes[16];

            memcpy(bytes, c->bytes + off, sizeof(bytes));
            random = random * 1664525 + 1013904223;
            bytes[random >> 16 & 3] = (u8)(random >> 24);
            compare(bytes, 1 + (random >> 20) % 15, c->addr, &changed);
        }
        for (u64 off = 0; off < c->len;) {
            compare(c->bytes + off, c->len - off, c->addr + off, &swept);
            off += tn_x86_decode(c->bytes + off, c->len - off, c->addr + off, &i) < 0 ? 1 : i.len;
        }
    }
    tn_module_free(m);
    print_message("# %s: of %lu instructions %.1f %% by our own tables\n", path, (unsigned long)swept.tried,
                  100.0 * (double)swept.answered / (double)swept.tried);
    assert_true(swept.answered > swept.tried / 2);
    assert_true(all.answered && changed.answered && all.answered < all.tried);
}

static void test_libc(void **state)
{
    same_in("/lib/x86_64-linux-gnu/libc.so.6", 1);
}

static void test_libm(void **state)
{
    same_in("/lib/x86_64-linux-gnu/libm.so.6", 1);
}

static void test_libcrypto(void **state)
{
    same_in("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", 5);
}

/* Every opcode, with and without each prefix, and every ModRM. */
static void test_all(void **state)
{
    static const u8 prefixes[][2] = {{0},          {0x66},       {0xf2},       {0xf3},       {0x64},
                                     {0x65},       {0x48},       {0x41},       {0x4f},       {0x66, 0x48},
                                     {0xf3, 0x4c}, {0x64, 0x48}, {0xf2, 0x41}, {0x66, 0x44}, {0x64, 0x66}};
    struct tally t = {0};

    for (u32 p = 0; p < TN_ARRAY_SIZE(prefixes); p++)
        for (u32 map = 0; map < 2; map++)
            for (u32 op = 0; op < 256; op++)
                for (u32 modrm = 0; modrm < 256; modrm++)
                    for (u32 sib = 0; sib < 256; sib += 51) {
                        u8 bytes[16] = {0};
                        u32 n = 0;

                        for (u32 k = 0; k < 2; k++)
                            if (prefixes[p][k])
                                bytes[n++] = prefixes[p][k];
                        if (map)
                            bytes[n++] = 0x0f;
                        bytes[n++] = (u8)op;
                        bytes[n++] = (u8)modrm;
                        bytes[n++] = (u8)sib;
                        memset(bytes + n, 0x92, sizeof(bytes) - n);
                        compare(bytes, 16, 0x400000, &t);
                    }
    assert_true(t.answered > 100000);
}

/* The same with a VEX prefix: each of its fields that changes what is valid, two bytes long and three. */
static void test_vex(void **state)
{
    static const u8 operands[] = {0x78, 0x50, 0};
    struct tally t = {0};

    for (u32 map = 0; map < 4; map++)
        for (u32 fields = 0; fields < 16 * TN_ARRAY_SIZE(operands); fields++)
            for (u32 op = 0; op < 256; op++)
                for (u32 modrm = 0; modrm < 256; modrm++) {
                    u8 last = (u8)((fields & 8) << 4 | operands[fields / 16] | (fields & 7)), n = 0;
                    u8 bytes[16] = {0};

                    bytes[n++] = map ? 0xc4 : 0xc5;
                    if (map)
                        bytes[n++] = (u8)(0xe0 | map);
                    bytes[n++] = last;
                    bytes[n++] = (u8)op;
                    bytes[n++] = (u8)modrm;
                    memset(bytes + n, modrm & 8 ? 0x92 : 0x25, sizeof(bytes) - n);
                    compare(bytes, 16, 0x400000, &t);
                }
    assert_int_equal(t.tried, 4 * 16 * TN_ARRAY_SIZE(operands) * 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),  cmocka_unit_test(test_vex),       cmocka_unit_test(test_libc),
        cmocka_unit_test(test_libm), cmocka_unit_test(test_libcrypto),
    };

    return cmocka_run_group_tests_name("rewrite/decode", tests, NULL, NULL);
}
