/* SPDX-License-Identifier: MIT */
/*
 * The symbols of a file, .symtab and .dynsym alike: who may call a function (a global symbol: anybody),
 * whether it is a clone, what else it is called.
 */
#include <errno.h>
#include <gelf.h>

#include "host/finish.h"

#define SYMBOLS_MAX (8u << 20)
#define NAMES_MAX   (1u << 30)

static int add(struct tn_symbols *s, const GElf_Sym *sym, const char *name)
{
    u32 len = (u32)strlen(name) + 1;
    u32 type = GELF_ST_TYPE(sym->st_info);

    if (s->n == SYMBOLS_MAX || len > 4096)
        return 0;
    if (s->n == s->cap) {
        u32 cap = s->cap ? s->cap * 2 : 4096;
        struct tn_symbol *p = reallocarray(s->at, cap, sizeof(*p));

        if (!p)
            return -ENOMEM;
        s->at = p;
        s->cap = cap;
    }
    if (len > s->cap_names - s->nnames) {
        u32 cap = s->cap_names ? s->cap_names * 2 : 1u << 16;
        char *p = cap <= NAMES_MAX ? realloc(s->names, cap) : NULL;

        if (!p)
            return -ENOMEM;
        s->names = p;
        s->cap_names = cap;
    }
    memcpy(s->names + s->nnames, name, len);
    s->at[s->n++] = (struct tn_symbol){.addr = sym->st_value,
                                       .size = sym->st_size,
                                       .name = s->nnames,
                                       .func = type == STT_FUNC,
                                       .global = GELF_ST_BIND(sym->st_info) != STB_LOCAL};
    s->nnames += len;
    return 0;
}

int tn_symbols_read(int fd, struct tn_symbols *s)
{
    Elf *elf;
    Elf_Scn *scn = NULL;
    int r = 0;

    elf_version(EV_CURRENT);
    elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    while (elf && !r && (scn = elf_nextscn(elf, scn))) {
        Elf_Data *data;
        GElf_Shdr sh;

        if (!gelf_getshdr(scn, &sh) || (sh.sh_type != SHT_SYMTAB && sh.sh_type != SHT_DYNSYM))
            continue;
        data = elf_getdata(scn, NULL);
        for (u32 i = 1; data && !r && i < data->d_size / sizeof(Elf64_Sym); i++) {
            const char *name;
            GElf_Sym sym;
            u32 type;

            if (!gelf_getsym(data, (int)i, &sym))
                break;
            type = GELF_ST_TYPE(sym.st_info);
            if ((type != STT_FUNC && type != STT_OBJECT) || sym.st_shndx == SHN_UNDEF || !sym.st_value)
                continue;
            name = elf_strptr(elf, sh.sh_link, sym.st_name);
            if (name && *name)
                r = add(s, &sym, name);
        }
    }
    elf_end(elf);
    return r;
}

static int by_addr(const void *a, const void *b, void *arg)
{
    const struct tn_symbol *x = a, *y = b;
    const char *names = arg;

    if (x->addr != y->addr)
        return x->addr < y->addr ? -1 : 1;
    return strcmp(names + x->name, names + y->name);
}

/* In order, each one once. */
void tn_symbols_sort(struct tn_symbols *s)
{
    u32 n = 0;

    if (!s->n)
        return;
    qsort_r(s->at, s->n, sizeof(*s->at), by_addr, s->names);
    for (u32 i = 0; i < s->n; i++) {
        if (n && s->at[n - 1].addr == s->at[i].addr &&
            !strcmp(s->names + s->at[n - 1].name, s->names + s->at[i].name)) {
            s->at[n - 1].global |= s->at[i].global;
            continue;
        }
        s->at[n++] = s->at[i];
    }
    s->n = n;
}

u32 tn_symbols_from(const struct tn_symbols *s, u64 addr)
{
    u32 low = 0, high = s->n;

    while (low < high) {
        u32 mid = low + (high - low) / 2;

        if (s->at[mid].addr < addr)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void tn_symbols_clear(struct tn_symbols *s)
{
    free(s->at);
    free(s->names);
    *s = (struct tn_symbols){0};
}
