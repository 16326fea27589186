/* SPDX-License-Identifier: MIT */
/*
 * The agent's own memcpy, memmove, memset and memcmp, under other names, against loops over bytes: every length up to
 * beyond the one where string instructions take over, every misalignment, every distance of an overlap.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "rt/mem.h"

static void *own_memcpy(void *dst, const void *src, size_t n);
#define memcpy  own_memcpy
#define memmove own_memmove
#define memset  own_memset
#define memcmp  own_memcmp
#include "../../src/rt/mem.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp

#define LONGEST 200u
#define ROOM    (4 * LONGEST)

static u8 bytes[ROOM], wanted[ROOM];

static void paint(void)
{
    for (u32 i = 0; i < ROOM; i++)
        bytes[i] = wanted[i] = (u8)(i * 37 + i / 7);
}

static void move(u32 from, u32 to, u32 n)
{
    u8 copy[LONGEST];

    for (u32 i = 0; i < n; i++)
        copy[i] = wanted[from + i];
    for (u32 i = 0; i < n; i++)
        wanted[to + i] = copy[i];
}

static void apart(void **state)
{
    (void)state;
    for (u32 n = 0; n <= LONGEST; n++)
        for (u32 shift = 0; shift < 64; shift++) {
            u32 from = shift % 8, to = LONGEST + 16 + shift / 8;

            paint();
            move(from, to, n);
            assert_ptr_equal(own_memcpy(bytes + to, bytes + from, n), bytes + to);
            assert_memory_equal(bytes, wanted, ROOM);
        }
}

static void overlapping(void **state)
{
    (void)state;
    for (u32 n = 0; n <= LONGEST; n++)
        for (u32 to = LONGEST - TN_MIN(n + 2, LONGEST); to <= LONGEST + n + 2; to++) {
            paint();
            move(LONGEST, to, n);
            assert_ptr_equal(own_memmove(bytes + to, bytes + LONGEST, n), bytes + to);
            assert_memory_equal(bytes, wanted, ROOM);
        }
}

static void filled(void **state)
{
    (void)state;
    for (u32 n = 0; n <= LONGEST; n++) {
        paint();
        for (u32 i = 0; i < n; i++)
            wanted[5 + i] = 0xa5;
        assert_ptr_equal(own_memset(bytes + 5, 0xa5, n), bytes + 5);
        assert_memory_equal(bytes, wanted, ROOM);
    }
}

static void compared(void **state)
{
    (void)state;
    for (u32 n = 0; n <= 40; n++)
        for (u32 at = 0; at <= n; at++) {
            paint();
            if (at < n)
                wanted[3 + at] ^= 0x80; /* bytes count without a sign */
            int is = own_memcmp(bytes + 3, wanted + 3, n);

            assert_int_equal(is < 0 ? -1 : is > 0, at == n ? 0 : bytes[3 + at] < wanted[3 + at] ? -1 : 1);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(apart), cmocka_unit_test(overlapping),
                                       cmocka_unit_test(filled), cmocka_unit_test(compared)};

    return cmocka_run_group_tests_name("agent's memory functions", tests, NULL, NULL);
}
