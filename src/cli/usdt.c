/* SPDX-License-Identifier: MIT */
/*
 * Static probes of a file (USDT): is the one there that a section asks for? libbpf finds it again when it attaches, and
 * then says no more than ENOENT. The notes' form is SystemTap's: three words of 64 bits (place, base, semaphore), then
 * provider, name and arguments, each ended by a NUL.
 */
#include "cli/place.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>

#include "eim/text.h"
#include "rewrite/module.h"

#define NT_STAPSDT 3u
#define WORDS      24u
#define PLACES     4096u /* of one probe */

struct looked_for {
    const struct tn_place *place;
    struct tn_nearest near;
    char nearest[512]; /* what `near` speaks of, while it does */
    u32 probes;
    bool found;
    u64 base;  /* where .stapsdt.base lies: what notes say is moved by as much as that was; 0: nowhere */
    u64 *addr; /* of those that are looked for; NULL: not kept */
    u32 n, cap;
};

static void elf_gone(Elf **elf)
{
    elf_end(*elf);
}

static void look_at(struct looked_for *l, const char *desc, size_t len)
{
    const char *provider = desc + WORDS, *name;
    size_t left = len > WORDS ? len - WORDS : 0, n = strnlen(provider, left);
    char both[sizeof(l->nearest)];

    if (n == left)
        return;
    name = provider + n + 1;
    left -= n + 1;
    if (strnlen(name, left) == left)
        return;
    l->probes++;
    snprintf(both, sizeof(both), "%s:%s", provider, name);
    tn_nearest_offer(&l->near, both);
    if (l->near.best == both) {
        strcpy(l->nearest, both);
        l->near.best = l->nearest;
    }
    if (strcmp(provider, l->place->provider) != 0 || strcmp(name, l->place->func) != 0)
        return;
    l->found = true;
    if (l->n < l->cap) {
        u64 word[3];

        memcpy(word, desc, sizeof(word));
        l->addr[l->n++] = word[0] + (l->base && word[1] ? l->base - word[1] : 0);
    }
}

static void look_through(Elf *elf, struct looked_for *l)
{
    for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn)) {
        GElf_Shdr sh;
        Elf_Data *data;
        GElf_Nhdr note;
        size_t at = 0, name, desc;

        if (!gelf_getshdr(scn, &sh) || sh.sh_type != SHT_NOTE || !(data = elf_getdata(scn, NULL)))
            continue;
        while ((at = gelf_getnote(data, at, &note, &name, &desc)) > 0)
            if (note.n_type == NT_STAPSDT && note.n_namesz == sizeof("stapsdt") &&
                memcmp((const char *)data->d_buf + name, "stapsdt", sizeof("stapsdt")) == 0)
                look_at(l, (const char *)data->d_buf + desc, note.n_descsz);
    }
}

static u64 base_of(Elf *elf)
{
    GElf_Shdr sh;
    size_t names;

    if (elf_getshdrstrndx(elf, &names))
        return 0;
    for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn)) {
        const char *name = gelf_getshdr(scn, &sh) ? elf_strptr(elf, names, sh.sh_name) : NULL;

        if (name && !strcmp(name, ".stapsdt.base"))
            return sh.sh_addr;
    }
    return 0;
}

/* `l`: zero, or with room for addresses. */
static int look_for(const struct tn_place *place, const char *file, struct looked_for *l,
                    struct tn_error *err)
{
    char want[sizeof(place->provider) + sizeof(place->func)], hint[TN_NEAREST_TEXT];
    _close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
    _clean_(elf_gone) Elf *elf = NULL;

    l->place = place;

    if (fd < 0)
        return tn_fail(err, -errno, "no_file", "%s: %s", file, strerror(errno));
    elf_version(EV_CURRENT);
    elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    if (!elf || elf_kind(elf) != ELF_K_ELF)
        return tn_fail(err, -ENOEXEC, "bad_elf", "%s: not an ELF file that can be read", file);
    snprintf(want, sizeof(want), "%s:%s", place->provider, place->func);
    l->near = tn_nearest_to(want);
    l->base = base_of(elf);
    look_through(elf, l);
    if (l->found)
        return 0;
    if (!l->probes)
        return tn_fail(err, -ENOENT, "no_probe", "%s has no static probes", file);
    return tn_fail(err, -ENOENT, "no_probe", "%s has %u static probe%s, and none is %s%s", file, l->probes,
                   l->probes == 1 ? "" : "s", want, tn_nearest_text(&l->near, hint));
}

int tn_place_probe(const struct tn_place *place, const char *file, struct tn_error *err)
{
    struct looked_for l = {0};

    return look_for(place, file, &l, err);
}

int tn_place_probe_offsets(const struct tn_place *place, const char *file, u64 **ret_offsets, u32 *ret_n,
                           struct tn_error *err)
{
    _clean_(tn_module_clear) struct tn_module *m = NULL;
    _free_ u64 *addr = calloc(PLACES, sizeof(*addr));
    struct looked_for l = {.addr = addr, .cap = PLACES};
    int r;

    if (!addr)
        return tn_fail(err, -ENOMEM, "no_memory", "no memory for the places of a static probe");
    r = look_for(place, file, &l, err);
    r = r ? r : tn_place_module(file, &m, err);
    for (u32 i = 0; i < l.n && !r; i++)
        if (tn_module_offset_of_addr(m, addr[i], &addr[i]))
            r = tn_fail(err, -ENOENT, "not_code", "%s: static probe %s:%s lies in no executable segment",
                        file, place->provider, place->func);
    if (!r && l.n == PLACES)
        r = tn_fail(err, -E2BIG, "too_many_places", "%s: static probe %s:%s has %u places or more", file,
                    place->provider, place->func, PLACES);
    if (r)
        return r;
    *ret_offsets = addr;
    *ret_n = l.n;
    addr = NULL;
    return 0;
}
