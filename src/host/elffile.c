/* SPDX-License-Identifier: MIT */
/*
 * Reading ELF by pread. `fetch` is the one place where an offset and a length of the file become bytes.
 */
#include "host/elffile.h"

#include <elf.h>
#include <errno.h>
#include <sys/stat.h>

#define SECTIONS_MAX 65536u
#define NAMES_MAX    (1u << 20)
#define NOTE_MAX     4096u

struct file {
    int fd;
    u64 size;
    const char *name;
    struct tn_error *err;
};

static int damaged(const struct file *f, const char *what)
{
    return tn_fail(f->err, -ENOEXEC, "elf_damaged", "%s: damaged or truncated: %s", f->name, what);
}

static int fetch(const struct file *f, void *to, u64 off, u64 len, const char *what)
{
    int r;

    if (off > f->size || len > f->size - off)
        return damaged(f, what);
    r = tn_pread_all(f->fd, to, len, off);
    if (r == -ENODATA)
        return damaged(f, what);
    return r ? tn_fail(f->err, r, "no_file", "%s: %s", f->name, strerror(-r)) : 0;
}

static int read_head(const struct file *f, Elf64_Ehdr *ret)
{
    u8 ident[EI_NIDENT];
    int r;

    if (f->size < EI_NIDENT)
        return tn_fail(f->err, -ENOEXEC, "not_elf", "%s: not an ELF file", f->name);
    r = fetch(f, ident, 0, sizeof(ident), "its head");
    if (r)
        return r;
    if (memcmp(ident, ELFMAG, SELFMAG))
        return tn_fail(f->err, -ENOEXEC, "not_elf", "%s: not an ELF file", f->name);
    if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB)
        return tn_fail(f->err, -ENOEXEC, "elf_class", "%s: not a 64-bit little-endian ELF file", f->name);
    r = fetch(f, ret, 0, sizeof(*ret), "its head");
    if (r)
        return r;
    if (ret->e_machine != EM_X86_64)
        return tn_fail(f->err, -ENOEXEC, "elf_machine", "%s: made for machine %u, not x86-64", f->name,
                       ret->e_machine);
    if (ret->e_type != ET_EXEC && ret->e_type != ET_DYN && ret->e_type != ET_REL)
        return tn_fail(f->err, -ENOEXEC, "not_elf",
                       "%s: neither a program nor a shared library (ELF type %u)", f->name, ret->e_type);
    return 0;
}

static int read_segments(const struct file *f, const Elf64_Ehdr *eh, struct tn_host_elf *elf)
{
    if (eh->e_phnum && eh->e_phentsize != sizeof(Elf64_Phdr))
        return damaged(f, "its program headers");
    for (u32 i = 0; i < eh->e_phnum; i++) {
        Elf64_Phdr p;
        int r = fetch(f, &p, eh->e_phoff + i * sizeof(p), sizeof(p), "its program headers");

        if (r)
            return r;
        if (p.p_type != PT_LOAD || elf->nsegments == TN_HOST_SEGMENTS_MAX)
            continue;
        elf->segment[elf->nsegments++] =
            (struct tn_host_segment){p.p_vaddr, p.p_offset, p.p_filesz, p.p_memsz, p.p_flags & PF_X};
    }
    return 0;
}

static void read_build_id(const struct file *f, const Elf64_Shdr *s, struct tn_host_elf *elf)
{
    u8 note[NOTE_MAX];
    u64 len = TN_MIN(s->sh_size, (u64)sizeof(note)), at = 0;

    if (elf->build_id_len || fetch(f, note, s->sh_offset, len, "a note"))
        return;
    while (len - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr n;
        u64 name, desc;

        memcpy(&n, note + at, sizeof(n));
        at += sizeof(n);
        name = TN_ROUND_UP((u64)n.n_namesz, 4);
        desc = TN_ROUND_UP((u64)n.n_descsz, 4);
        if (name > len - at || desc > len - at - name)
            return;
        if (n.n_namesz == 4 && !memcmp(note + at, "GNU", 4) && n.n_type == NT_GNU_BUILD_ID && n.n_descsz &&
            n.n_descsz <= TN_HOST_BUILD_ID_MAX) {
            elf->build_id_len = n.n_descsz;
            memcpy(elf->build_id, note + at + name, n.n_descsz);
        }
        at += name + desc;
    }
}

/* A file's name, zeros up to a multiple of four, a checksum. */
static void read_debuglink(const struct file *f, const Elf64_Shdr *s, struct tn_host_elf *elf)
{
    u8 data[sizeof(elf->debuglink) + 8];
    size_t len;

    if (s->sh_size > sizeof(data) || fetch(f, data, s->sh_offset, s->sh_size, "a debug link"))
        return;
    len = strnlen((char *)data, s->sh_size);
    if (len >= sizeof(elf->debuglink) || TN_ROUND_UP(len + 1, 4) + 4 > s->sh_size || memchr(data, '/', len))
        return;
    memcpy(elf->debuglink, data, len + 1);
    memcpy(&elf->debuglink_crc, data + TN_ROUND_UP(len + 1, 4), 4);
}

/* A path, and the build-id of what lies there. */
static void read_altlink(const struct file *f, const Elf64_Shdr *s, struct tn_host_elf *elf)
{
    u8 data[sizeof(elf->altlink) + TN_HOST_BUILD_ID_MAX];
    size_t len;

    if (s->sh_size > sizeof(data) || fetch(f, data, s->sh_offset, s->sh_size, "a link"))
        return;
    len = strnlen((char *)data, s->sh_size);
    if (len >= sizeof(elf->altlink) || len + 1 >= s->sh_size || s->sh_size - len - 1 > TN_HOST_BUILD_ID_MAX)
        return;
    memcpy(elf->altlink, data, len + 1);
    elf->alt_build_id_len = (u32)(s->sh_size - len - 1);
    memcpy(elf->alt_build_id, data + len + 1, elf->alt_build_id_len);
}

static void take_section(const struct file *f, const Elf64_Shdr *s, const char *name, struct tn_host_elf *elf)
{
    bool bytes = s->sh_type != SHT_NOBITS && s->sh_size;

    if (s->sh_type == SHT_NOTE)
        read_build_id(f, s, elf);
    else if (bytes && (!strcmp(name, ".debug_info") || !strcmp(name, ".zdebug_info")))
        elf->has_dwarf = true;
    else if (bytes && !strcmp(name, ".debug_info.dwo"))
        elf->has_dwo = true;
    else if (bytes && (s->sh_type == SHT_SYMTAB || s->sh_type == SHT_DYNSYM))
        elf->has_symbols = true;
    else if (bytes && !strcmp(name, ".gnu_debuglink"))
        read_debuglink(f, s, elf);
    else if (bytes && !strcmp(name, ".gnu_debugaltlink"))
        read_altlink(f, s, elf);
    else if (bytes && !strcmp(name, ".BTF") && s->sh_offset <= f->size &&
             s->sh_size <= f->size - s->sh_offset) {
        elf->has_btf = true;
        elf->btf_offset = s->sh_offset;
        elf->btf_size = s->sh_size;
    }
}

static int read_sections(const struct file *f, const Elf64_Ehdr *eh, struct tn_host_elf *elf)
{
    _free_ Elf64_Shdr *table = NULL;
    _free_ char *names = NULL;
    Elf64_Shdr first;
    u64 n = eh->e_shnum, strings = eh->e_shstrndx, len;
    int r;

    if (!eh->e_shoff)
        return 0;
    if (eh->e_shentsize != sizeof(first))
        return damaged(f, "its section table");
    r = fetch(f, &first, eh->e_shoff, sizeof(first), "its section table");
    if (r)
        return r;
    n = n ? n : first.sh_size;
    strings = strings == SHN_XINDEX ? first.sh_link : strings;
    if (n > SECTIONS_MAX || strings >= n)
        return damaged(f, "its section table");
    table = calloc(n, sizeof(*table));
    if (!table)
        return -ENOMEM;
    r = fetch(f, table, eh->e_shoff, n * sizeof(*table), "its section table");
    if (r)
        return r;
    len = table[strings].sh_size;
    if (!len || len > NAMES_MAX)
        return damaged(f, "its section names");
    names = malloc(len);
    if (!names)
        return -ENOMEM;
    r = fetch(f, names, table[strings].sh_offset, len, "its section names");
    if (r)
        return r;
    names[len - 1] = 0;
    for (u64 i = 1; i < n; i++)
        take_section(f, &table[i], table[i].sh_name < len ? names + table[i].sh_name : "", elf);
    return 0;
}

int tn_host_elf_read(int fd, const char *name, struct tn_host_elf *ret, struct tn_error *err)
{
    _free_ struct tn_host_elf *elf = calloc(1, sizeof(*elf));
    struct file f = {.fd = fd, .name = name, .err = err};
    struct stat st;
    Elf64_Ehdr eh;
    int r;

    if (!elf)
        return -ENOMEM;
    if (fstat(fd, &st) < 0)
        return tn_fail(err, -errno, "no_file", "%s: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tn_fail(err, -ENOEXEC, "not_elf", "%s: not a regular file", name);
    if ((u64)st.st_size > TN_HOST_FILE_MAX)
        return tn_fail(err, -EFBIG, "file_too_large", "%s: %llu bytes; at most %llu are read", name,
                       (unsigned long long)st.st_size, TN_HOST_FILE_MAX);
    f.size = elf->size = (u64)st.st_size;
    r = read_head(&f, &eh);
    if (!r)
        elf->relocatable = eh.e_type == ET_REL;
    if (!r)
        r = read_segments(&f, &eh, elf);
    if (!r)
        r = read_sections(&f, &eh, elf);
    if (!r)
        *ret = *elf;
    return r;
}

u64 tn_host_elf_offset(const struct tn_host_elf *elf, u64 addr)
{
    for (u32 i = 0; i < elf->nsegments; i++) {
        const struct tn_host_segment *s = &elf->segment[i];

        if (addr >= s->addr && addr - s->addr < s->filesz)
            return s->offset + (addr - s->addr);
    }
    return UINT64_MAX;
}

int tn_host_elf_crc(int fd, u64 size, u32 *ret)
{
    u32 table[256], crc = ~0u;
    u8 block[65536];

    for (u32 i = 0; i < 256; i++) {
        table[i] = i;
        for (u32 k = 0; k < 8; k++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    }
    for (u64 at = 0; at < size;) {
        ssize_t n = pread(fd, block, sizeof(block), (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        for (ssize_t k = 0; k < n; k++)
            crc = table[(crc ^ block[k]) & 255] ^ crc >> 8;
        at += (u64)n;
    }
    *ret = ~crc;
    return 0;
}
