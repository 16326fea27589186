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

#define NT_STAPSDT 3u
#define WORDS      24u

struct looked_for {
    const struct tn_place *place;
    struct tn_nearest near;
    char nearest[512]; /* what `near` speaks of, while it does */
    u32 probes;
    bool found;
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
    l->found |= strcmp(provider, l->place->provider) == 0 && strcmp(name, l->place->func) == 0;
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

int tn_place_probe(const struct tn_place *place, const char *file, struct tn_error *err)
{
    char want[sizeof(place->provider) + sizeof(place->func)], hint[TN_NEAREST_TEXT];
    _close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
    _clean_(elf_gone) Elf *elf = NULL;
    struct looked_for l = {.place = place};

    if (fd < 0)
        return tn_fail(err, -errno, "no_file", "%s: %s", file, strerror(errno));
    elf_version(EV_CURRENT);
    elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    if (!elf || elf_kind(elf) != ELF_K_ELF)
        return tn_fail(err, -ENOEXEC, "bad_elf", "%s: not an ELF file that can be read", file);
    snprintf(want, sizeof(want), "%s:%s", place->provider, place->func);
    l.near = tn_nearest_to(want);
    look_through(elf, &l);
    if (l.found)
        return 0;
    if (!l.probes)
        return tn_fail(err, -ENOENT, "no_probe", "%s has no static probes", file);
    return tn_fail(err, -ENOENT, "no_probe", "%s has %u static probe%s, and none is %s%s", file, l.probes,
                   l.probes == 1 ? "" : "s", want, tn_nearest_text(&l.near, hint));
}
