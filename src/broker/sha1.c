/* SPDX-License-Identifier: MIT */
/* SHA-1 (FIPS 180-4): a program's tag is the first eight bytes of it over its instructions. An identity for
   people and tools, as in Linux; nothing is protected by it. */
#include "broker/name.h"

static u32 rol(u32 x, u32 n)
{
    return x << n | x >> (32 - n);
}

static void block(u32 h[5], const u8 *p)
{
    u32 w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

    for (u32 i = 0; i < 16; i++)
        w[i] = (u32)p[4 * i] << 24 | (u32)p[4 * i + 1] << 16 | (u32)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (u32 i = 16; i < 80; i++)
        w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (u32 i = 0; i < 80; i++) {
        u32 f, k, t;

        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (i < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (i < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        t = rol(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rol(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

void tn_sha1(const void *data, size_t len, u8 ret_digest[20])
{
    u32 h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    const u8 *p = data;
    u8 tail[128] = {0};
    size_t whole = len / 64 * 64, rest = len - whole, tail_len = rest < 56 ? 64 : 128;

    for (size_t i = 0; i < whole; i += 64)
        block(h, p + i);
    memcpy(tail, p + whole, rest);
    tail[rest] = 0x80;
    for (u32 i = 0; i < 8; i++)
        tail[tail_len - 1 - i] = (u8)((u64)len * 8 >> (8 * i));
    for (size_t i = 0; i < tail_len; i += 64)
        block(h, tail + i);
    for (u32 i = 0; i < 20; i++)
        ret_digest[i] = (u8)(h[i / 4] >> (24 - 8 * (i % 4)));
}
