/* SPDX-License-Identifier: MIT */
/*
 * Reading ELF by hand: five tables are all that is wanted, and each is fetched by `table`, the one place
 * where an offset, a count and an entry's size from the file become a pointer.
 *
 * Functions from several sources meet in one list, one an address: the symbol gives the name, unwind
 * information the truth about size and about pieces. A piece is what unwind rules say cannot be called, or
 * what GCC and LLVM call `NAME.cold`, `NAME.part.…` excepted (that is a function of its own).
 */
#include "rewrite/module.h"

#include <elf.h>
#include <errno.h>
#include <sys/stat.h>

#include "rewrite/aims.h"
#include "rewrite/flow.h"
#include "rewrite/golang.h"
#include "rewrite/refusals.h"
#include "rewrite/unwind.h"

#define FILE_MAX     (1ull << 30)
#define SEGMENTS_MAX 64u
#define SUGGESTIONS  5u
#define GOTAB_TRIES  16u /* of what looks like the head of one */

struct segment {
    u64 offset, addr, filesz;
    u32 flags;
};

struct tn_module {
    u8 *file;
    u64 size;
    struct segment seg[SEGMENTS_MAX];
    u32 nseg;
    struct tn_bytes rodata[SEGMENTS_MAX];
    u32 nrodata;
    struct tn_bytes frames; /* .eh_frame */
    struct tn_code_view code[SEGMENTS_MAX];
    struct tn_aims aims[SEGMENTS_MAX];
    struct tn_known known[SEGMENTS_MAX];
    struct tn_spare spare[SEGMENTS_MAX];
    u32 ncode;
    struct tn_funcs funcs; /* sorted, one an address */
    /* Every name, aliases included: offsets are checked, so they are plain pointers into the file. */
    struct tn_func *names;
    u32 nnames;
    struct {
        const u8 *defs, *names; /* .gnu.version_d and its strings */
        u64 ndefs, nnames;      /* bytes */
        bool read;              /* a file has one table of them */
    } versions;
    bool go;
    struct {
        u64 offset, addr, text; /* in the file; 0: not found */
    } gotab;
    struct tn_go goread;
    const u8 *build_id;
    u32 build_id_len;
    u64 base;
};

static const void *table(const struct tn_module *m, u64 off, u64 count, u64 size)
{
    if (off > m->size || (size && count > (m->size - off) / size))
        return NULL;
    return m->file + off;
}

/* A NUL-terminated string at `off` of a string table, or NULL. */
static const char *string(const u8 *tab, u64 len, u64 off)
{
    if (!tab || off >= len || !memchr(tab + off, 0, len - off))
        return NULL;
    return (const char *)tab + off;
}

static int check_header(const struct tn_module *m, Elf64_Ehdr *ret_eh, struct tn_error *err)
{
    if (m->size < EI_NIDENT || memcmp(m->file, ELFMAG, SELFMAG) != 0)
        return tn_refuse(err, -ENOEXEC, TN_REFUSE_BAD_ELF, 0, "no ELF magic");
    if (m->file[EI_CLASS] != ELFCLASS64)
        return tn_refuse(err, -ENOEXEC, TN_REFUSE_ELF_CLASS, 0, NULL);
    if (m->file[EI_DATA] != ELFDATA2LSB)
        return tn_refuse(err, -ENOEXEC, TN_REFUSE_ELF_ENDIAN, 0, NULL);
    if (m->size < sizeof(*ret_eh))
        return tn_refuse(err, -ENOEXEC, TN_REFUSE_ELF_TRUNCATED, m->size, "file header");
    memcpy(ret_eh, m->file, sizeof(*ret_eh));
    if (ret_eh->e_machine != EM_X86_64)
        return tn_refuse(err, -ENOEXEC, TN_REFUSE_ELF_MACHINE, 0, NULL);
    if (ret_eh->e_type != ET_EXEC && ret_eh->e_type != ET_DYN)
        return tn_refuse(err, -ENOEXEC, TN_REFUSE_BAD_ELF, 0, "neither a program nor a shared library");
    return 0;
}

static void read_notes(struct tn_module *m, u64 off, u64 len)
{
    const u8 *p = table(m, off, len, 1);

    while (p && len >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr n;
        u64 name, desc;

        memcpy(&n, p, sizeof(n));
        p += sizeof(n);
        len -= sizeof(n);
        name = TN_ROUND_UP((u64)n.n_namesz, 4);
        desc = TN_ROUND_UP((u64)n.n_descsz, 4);
        if (name > len || desc > len - name)
            return;
        if (n.n_namesz == 4 && memcmp(p, "GNU", 4) == 0 && n.n_type == NT_GNU_BUILD_ID && n.n_descsz) {
            m->build_id = p + name;
            m->build_id_len = n.n_descsz;
        }
        if (n.n_namesz == 4 && memcmp(p, "Go\0", 4) == 0)
            m->go = true;
        p += name + desc;
        len -= name + desc;
    }
}

/* Segments: code, data that stays as it is, notes, unwind header. */
static int read_segments(struct tn_module *m, const Elf64_Ehdr *eh, u64 *ret_eh_hdr, struct tn_error *err)
{
    const u8 *ph = table(m, eh->e_phoff, eh->e_phnum, sizeof(Elf64_Phdr));
    bool first = true;

    if (!ph || (eh->e_phnum && eh->e_phentsize != sizeof(Elf64_Phdr)))
        return tn_refuse(err, -ENOEXEC, TN_REFUSE_ELF_TRUNCATED, eh->e_phoff, "program headers");
    for (u32 i = 0; i < eh->e_phnum; i++) {
        Elf64_Phdr p;

        memcpy(&p, ph + i * sizeof(p), sizeof(p));
        if (p.p_type == PT_NOTE)
            read_notes(m, p.p_offset, p.p_filesz);
        if (p.p_type == PT_GNU_EH_FRAME)
            *ret_eh_hdr = p.p_vaddr;
        if (p.p_type != PT_LOAD || !p.p_filesz)
            continue;
        if (!table(m, p.p_offset, p.p_filesz, 1) ||
            p.p_filesz > UINT64_MAX / 2 - (p.p_vaddr & (UINT64_MAX / 2)) || p.p_vaddr > UINT64_MAX / 2)
            return tn_refuse(err, -ENOEXEC, TN_REFUSE_ELF_TRUNCATED, p.p_offset, "segment");
        if (m->nseg == SEGMENTS_MAX)
            return tn_refuse(err, -ENOEXEC, TN_REFUSE_BAD_ELF, 0, "too many segments");
        if (first || p.p_vaddr < m->base)
            m->base = TN_ROUND_DOWN(p.p_vaddr, TN_PAGE);
        first = false;
        m->seg[m->nseg++] = (struct segment){p.p_offset, p.p_vaddr, p.p_filesz, p.p_flags};
        if (!(p.p_flags & PF_W))
            m->rodata[m->nrodata++] = (struct tn_bytes){m->file + p.p_offset, p.p_vaddr, p.p_filesz};
        if (p.p_flags & PF_X)
            m->code[m->ncode++] =
                (struct tn_code_view){.bytes = m->file + p.p_offset, .addr = p.p_vaddr, .len = p.p_filesz};
    }
    return m->ncode ? 0 : tn_refuse(err, -ENOEXEC, TN_REFUSE_ELF_NO_CODE, 0, NULL);
}

static bool is_code(const struct tn_module *m, u64 addr)
{
    return tn_module_code(m, addr) != NULL;
}

static int add_name(struct tn_module *m, u32 *cap, struct tn_func f)
{
    if (m->nnames == *cap) {
        u32 want = *cap ? *cap * 2 : 256;
        struct tn_func *p = reallocarray(m->names, want, sizeof(*p));

        if (!p)
            return -ENOMEM;
        m->names = p;
        *cap = want;
    }
    m->names[m->nnames++] = f;
    return 0;
}

/* The versions of a table's symbols, two bytes each; NULL: they have none. What they are called is kept. */
static const u8 *read_versions(struct tn_module *m, const u8 *sh, u32 nsh, u32 sym, u64 nsyms)
{
    const u8 *versions = NULL;

    if (m->versions.read)
        return NULL;
    m->versions.read = true;
    for (u32 i = 0; i < nsh; i++) {
        Elf64_Shdr s, link;

        memcpy(&s, sh + i * sizeof(s), sizeof(s));
        if (s.sh_type == SHT_GNU_versym && s.sh_link == sym && s.sh_size / sizeof(Elf64_Versym) >= nsyms)
            versions = table(m, s.sh_offset, nsyms, sizeof(Elf64_Versym));
        if (s.sh_type != SHT_GNU_verdef || s.sh_link >= nsh)
            continue;
        memcpy(&link, sh + s.sh_link * sizeof(link), sizeof(link));
        m->versions.defs = table(m, s.sh_offset, s.sh_size, 1);
        m->versions.ndefs = s.sh_size;
        m->versions.names = table(m, link.sh_offset, link.sh_size, 1);
        m->versions.nnames = link.sh_size;
    }
    return versions;
}

static int read_symbols(struct tn_module *m, const Elf64_Shdr *sym, const Elf64_Shdr *str, const u8 *versions,
                        u32 *cap)
{
    u64 n = sym->sh_size / sizeof(Elf64_Sym);
    const u8 *p = table(m, sym->sh_offset, n, sizeof(Elf64_Sym));
    const u8 *names = table(m, str->sh_offset, str->sh_size, 1);

    for (u64 i = 0; p && names && i < n; i++) {
        struct tn_func f;
        Elf64_Sym s;
        u64 len;
        int r;

        memcpy(&s, p + i * sizeof(s), sizeof(s));
        if ((ELF64_ST_TYPE(s.st_info) != STT_FUNC && ELF64_ST_TYPE(s.st_info) != STT_GNU_IFUNC) ||
            s.st_shndx == SHN_UNDEF || !is_code(m, s.st_value))
            continue;
        f = (struct tn_func){.addr = s.st_value,
                             .size = s.st_size,
                             .name = string(names, str->sh_size, s.st_name),
                             .chooser = ELF64_ST_TYPE(s.st_info) == STT_GNU_IFUNC};
        if (versions)
            memcpy(&f.version, versions + i * sizeof(f.version), sizeof(f.version));
        if (!f.name || !*f.name)
            continue;
        if (f.size > UINT64_MAX / 2)
            f.size = 0;
        len = strlen(f.name);
        f.part = (len > 5 && strcmp(f.name + len - 5, ".cold") == 0) || strstr(f.name, ".cold.");
        r = tn_funcs_add(&m->funcs, f);
        if (!r)
            r = add_name(m, cap, f);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Functions of an .eh_frame. Of several, one is kept to look up rules in: those of the others have none. */
static int add_unwound(struct tn_module *m, const u8 *bytes, u64 len, u64 addr)
{
    u32 from = m->funcs.n;
    int r = tn_unwind_functions(bytes, len, addr, &m->funcs);

    if (!m->frames.len)
        m->frames = (struct tn_bytes){bytes, addr, len};
    else
        for (; from < m->funcs.n; from++)
            m->funcs.at[from].frame = 0;
    return r;
}

/* -------------------------------------------------------------------------------------------------- Go */

/* Where entries count from, where only the loader puts it. */
static u64 relocated(const struct tn_module *m, const u8 *sh, u32 n, u64 addr)
{
    for (u32 i = 0; i < n; i++) {
        Elf64_Shdr s;
        const u8 *p;

        memcpy(&s, sh + i * sizeof(s), sizeof(s));
        p = s.sh_type == SHT_RELA ? table(m, s.sh_offset, s.sh_size / sizeof(Elf64_Rela), sizeof(Elf64_Rela))
                                  : NULL;
        for (u64 k = 0; p && k < s.sh_size / sizeof(Elf64_Rela); k++) {
            Elf64_Rela r;

            memcpy(&r, p + k * sizeof(r), sizeof(r));
            if (r.r_offset == addr && ELF64_R_TYPE(r.r_info) == R_X86_64_RELATIVE)
                return (u64)r.r_addend;
        }
    }
    return 0;
}

/* The table in a file without section headers. */
static void seek_gotab(struct tn_module *m)
{
    u32 tries = 0;

    for (u32 i = 0; i < m->nseg && !m->gotab.offset; i++)
        for (u64 at = TN_ROUND_UP(m->seg[i].offset, 16); at < m->seg[i].offset + m->seg[i].filesz; at += 16) {
            struct tn_go go;
            u64 text;

            if (!tn_go_head(m->file + at, m->size - at, &text))
                continue;
            if (tries++ == GOTAB_TRIES)
                return;
            if (tn_go_open(m->file + at, m->size - at, text, &go) < 0)
                continue;
            m->gotab.offset = at;
            m->gotab.addr = m->seg[i].addr + (at - m->seg[i].offset);
            return;
        }
}

/* Breakpoint instructions fill up to the next function; a jump may end with such a byte. */
static u64 unpadded(const struct tn_module *m, const struct tn_go_func *g)
{
    const struct tn_code_view *c = tn_module_code(m, g->addr);
    u64 size = g->size;

    if (!c || size > c->len - (g->addr - c->addr))
        return 0;
    const u8 *p = c->bytes + (g->addr - c->addr);

    while (size > 2 && p[size - 1] == 0xcc && p[size - 2] != 0xeb)
        size--;
    return size;
}

/* Functions of Go, with names if the file has no other. */
static int read_gotab(struct tn_module *m, const u8 *sh, u32 nsh, bool named, u32 *cap)
{
    u64 text = 0;

    if (!m->gotab.offset && (m->go || !sh))
        seek_gotab(m);
    if (!m->gotab.offset || !tn_go_head(m->file + m->gotab.offset, m->size - m->gotab.offset, &text))
        return 0;
    m->go = true;
    if (!text && sh)
        text = relocated(m, sh, nsh, m->gotab.addr + TN_GO_TEXT_AT);
    if (!text)
        text = m->gotab.text;
    if (tn_go_open(m->file + m->gotab.offset, m->size - m->gotab.offset, text, &m->goread) < 0)
        return 0;
    for (u32 i = 0; i < m->goread.nfuncs; i++) {
        struct tn_go_func g;
        struct tn_func f = {0};
        int r = 0;

        if (!tn_go_nth(&m->goread, i, &g) || !is_code(m, g.addr)) {
            m->goread = (struct tn_go){0}; /* of another text */
            return 0;
        }
        if (!unpadded(m, &g))
            continue;
        f = (struct tn_func){.addr = g.addr, .size = unpadded(m, &g), .name = *g.name ? g.name : NULL};
        r = tn_funcs_add(&m->funcs, f);
        if (!r && !named && f.name)
            r = add_name(m, cap, f);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_sections(struct tn_module *m, const Elf64_Ehdr *eh, bool *ret_unwound)
{
    const u8 *sh = eh->e_shentsize == sizeof(Elf64_Shdr) && eh->e_shoff
                       ? table(m, eh->e_shoff, eh->e_shnum, sizeof(Elf64_Shdr))
                       : NULL;
    Elf64_Shdr strs = {0};
    const u8 *names;
    bool named = false;
    u32 cap = 0;

    if (!sh || !eh->e_shnum) /* a file may have no sections at all; segments tell enough */
        return read_gotab(m, NULL, 0, false, &cap);
    if (eh->e_shstrndx < eh->e_shnum)
        memcpy(&strs, sh + eh->e_shstrndx * sizeof(strs), sizeof(strs));
    names = strs.sh_type == SHT_STRTAB ? table(m, strs.sh_offset, strs.sh_size, 1) : NULL;
    for (u32 i = 0; i < eh->e_shnum; i++) {
        const char *name;
        Elf64_Shdr s, link;
        int r = 0;

        memcpy(&s, sh + i * sizeof(s), sizeof(s));
        name = string(names, strs.sh_size, s.sh_name);
        if (name && (strcmp(name, ".gopclntab") == 0 || strcmp(name, ".go.buildinfo") == 0 ||
                     strcmp(name, ".data.rel.ro.gopclntab") == 0 || strcmp(name, ".note.go.buildid") == 0))
            m->go = true;
        if (name && strstr(name, ".gopclntab") && s.sh_type != SHT_NOBITS &&
            table(m, s.sh_offset, s.sh_size, 1)) {
            m->gotab.offset = s.sh_offset;
            m->gotab.addr = s.sh_addr;
        }
        if (name && strcmp(name, ".text") == 0)
            m->gotab.text = s.sh_addr;
        named |= s.sh_type == SHT_SYMTAB;
        if ((s.sh_type == SHT_SYMTAB || s.sh_type == SHT_DYNSYM) && s.sh_link < eh->e_shnum) {
            memcpy(&link, sh + s.sh_link * sizeof(link), sizeof(link));
            r = read_symbols(m, &s, &link,
                             s.sh_type == SHT_DYNSYM
                                 ? read_versions(m, sh, eh->e_shnum, i, s.sh_size / sizeof(Elf64_Sym))
                                 : NULL,
                             &cap);
        } else if (name && strcmp(name, ".eh_frame") == 0 && s.sh_type != SHT_NOBITS &&
                   table(m, s.sh_offset, s.sh_size, 1)) {
            *ret_unwound = true;
            r = add_unwound(m, m->file + s.sh_offset, s.sh_size, s.sh_addr);
        }
        if (r < 0)
            return r;
    }
    return read_gotab(m, sh, eh->e_shnum, named, &cap);
}

/* .eh_frame without section headers: through its header's segment,
   to the end of the segment that holds it. */
static int read_unwind(struct tn_module *m, u64 hdr)
{
    for (u32 i = 0; i < m->nrodata; i++) {
        const struct tn_bytes *b = &m->rodata[i];
        u64 at;

        if (hdr < b->addr || hdr - b->addr >= b->len)
            continue;
        if (tn_unwind_header(b->bytes + (hdr - b->addr), b->len - (hdr - b->addr), hdr, &at) == 0 &&
            at >= b->addr && at - b->addr < b->len)
            return add_unwound(m, b->bytes + (at - b->addr), b->len - (at - b->addr), at);
    }
    return 0;
}

/* By address; at one address named ones first, then the larger. */
static int by_addr(const void *x, const void *y)
{
    const struct tn_func *a = x, *b = y;

    if (a->addr != b->addr)
        return a->addr < b->addr ? -1 : 1;
    if (!a->name != !b->name)
        return a->name ? -1 : 1;
    return a->size != b->size ? (a->size > b->size ? -1 : 1) : 0;
}

/* One entry an address. Unwind information wins where a symbol has no size; a piece is one if anybody says
   so, but a symbol that others can bind to is none. */
static void settle(struct tn_module *m)
{
    struct tn_func *f = m->funcs.at;
    u32 n = 0;

    if (m->funcs.n)
        qsort(f, m->funcs.n, sizeof(*f), by_addr);
    for (u32 i = 0; i < m->funcs.n; i++) {
        if (!is_code(m, f[i].addr))
            continue;
        if (n && f[n - 1].addr == f[i].addr) {
            if (!f[n - 1].size)
                f[n - 1].size = f[i].size;
            if (!f[n - 1].frame)
                f[n - 1].frame = f[i].frame;
            f[n - 1].chooser |= f[i].chooser;
            continue;
        }
        f[n++] = f[i];
    }
    m->funcs.n = n;
    for (u32 i = 0; i < m->ncode; i++) {
        m->code[i].funcs = f;
        m->code[i].nfuncs = n;
        m->code[i].rodata = m->rodata;
        m->code[i].nrodata = m->nrodata;
        m->code[i].frames = m->frames;
        m->code[i].is_go = m->go;
        m->code[i].go = m->goread.nfuncs ? &m->goread : NULL;
        m->code[i].aims = &m->aims[i];
        m->code[i].known = &m->known[i];
        m->code[i].spare = &m->spare[i];
    }
}

static int parse(struct tn_module *m, struct tn_error *err)
{
    u64 eh_hdr = 0;
    bool unwound = false;
    Elf64_Ehdr eh = {0};
    int r;

    r = check_header(m, &eh, err);
    if (!r)
        r = read_segments(m, &eh, &eh_hdr, err);
    if (!r)
        r = read_sections(m, &eh, &unwound);
    if (!r && !unwound && eh_hdr)
        r = read_unwind(m, eh_hdr);
    if (!r)
        settle(m);
    return r;
}

void tn_module_free(struct tn_module *m)
{
    if (!m)
        return;
    for (u32 i = 0; i < SEGMENTS_MAX; i++) {
        tn_aims_clear(&m->aims[i]);
        tn_known_clear(&m->known[i]);
        tn_spare_clear(&m->spare[i]);
    }
    free(m->file);
    free(m->funcs.at);
    free(m->names);
    free(m);
}

static void cleanup_module(struct tn_module **m)
{
    tn_module_free(*m);
}

/* Takes `file`. */
static int adopt(u8 *file, u64 len, struct tn_module **ret_module, struct tn_error *err)
{
    _clean_(cleanup_module) struct tn_module *m = calloc(1, sizeof(*m));
    int r;

    if (!m) {
        free(file);
        return -ENOMEM;
    }
    m->file = file;
    m->size = len;
    r = parse(m, err);
    if (r < 0)
        return r;
    *ret_module = TN_TAKE_PTR(m);
    return 0;
}

int tn_module_parse(const u8 *bytes, u64 len, struct tn_module **ret_module, struct tn_error *err)
{
    u8 *copy;

    if (len > FILE_MAX)
        return tn_refuse(err, -EFBIG, TN_REFUSE_ELF_TOO_LARGE, 0, NULL);
    copy = malloc(len ? len : 1);
    if (!copy)
        return -ENOMEM;
    if (len)
        memcpy(copy, bytes, len);
    return adopt(copy, len, ret_module, err);
}

int tn_module_open(int fd, struct tn_module **ret_module, struct tn_error *err)
{
    _free_ u8 *file = NULL;
    u64 len = 0, size;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < 0)
        return tn_refuse(err, -ENOEXEC, TN_REFUSE_BAD_ELF, 0, "no regular file");
    size = (u64)st.st_size;
    if (size > FILE_MAX)
        return tn_refuse(err, -EFBIG, TN_REFUSE_ELF_TOO_LARGE, 0, NULL);
    file = malloc(size ? size : 1);
    if (!file)
        return -ENOMEM;
    while (len < size) {
        ssize_t n = pread(fd, file + len, size - len, (off_t)len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break; /* it shrank: the checks will tell */
        len += (u64)n;
    }
    return adopt(TN_TAKE_PTR(file), len, ret_module, err);
}

/* ---------------------------------------------------------------------------------------------- questions */

const struct tn_code_view *tn_module_code(const struct tn_module *m, u64 addr)
{
    for (u32 i = 0; i < m->ncode; i++)
        if (addr - m->code[i].addr < m->code[i].len)
            return &m->code[i];
    return NULL;
}

u32 tn_module_ncode(const struct tn_module *m)
{
    return m->ncode;
}

const struct tn_code_view *tn_module_code_at(const struct tn_module *m, u32 index)
{
    return index < m->ncode ? &m->code[index] : NULL;
}

int tn_module_addr_of_offset(const struct tn_module *m, u64 offset, u64 *ret_addr)
{
    for (u32 i = 0; i < m->nseg; i++) {
        const struct segment *s = &m->seg[i];

        if ((s->flags & PF_X) && offset >= s->offset && offset - s->offset < s->filesz) {
            *ret_addr = s->addr + (offset - s->offset);
            return 0;
        }
    }
    return -ENOENT;
}

int tn_module_offset_of_addr(const struct tn_module *m, u64 addr, u64 *ret_offset)
{
    for (u32 i = 0; i < m->nseg; i++) {
        const struct segment *s = &m->seg[i];

        if ((s->flags & PF_X) && addr >= s->addr && addr - s->addr < s->filesz) {
            *ret_offset = s->offset + (addr - s->addr);
            return 0;
        }
    }
    return -ENOENT;
}

static void suggest(const struct tn_module *m, const char *name, char *ret, size_t cap)
{
    const char *best[SUGGESTIONS] = {0};
    u32 score[SUGGESTIONS];
    size_t len = strlen(name), used = 0;

    for (u32 i = 0; i < SUGGESTIONS; i++)
        score[i] = len < 6 ? 2 : 5;
    for (u32 i = 0; i < m->nnames; i++) {
        const char *n = m->names[i].name;
        u32 d = len >= 4 && strstr(n, name) ? 1 : tn_distance(name, n, score[SUGGESTIONS - 1], false);
        bool seen = false;

        for (u32 k = 0; k < SUGGESTIONS; k++)
            seen |= best[k] && strcmp(best[k], n) == 0;
        if (seen || m->names[i].part || d >= score[SUGGESTIONS - 1])
            continue;
        for (u32 k = 0; k < SUGGESTIONS; k++) {
            if (d >= score[k])
                continue;
            memmove(&best[k + 1], &best[k], (SUGGESTIONS - 1 - k) * sizeof(best[0]));
            memmove(&score[k + 1], &score[k], (SUGGESTIONS - 1 - k) * sizeof(score[0]));
            best[k] = n;
            score[k] = d;
            break;
        }
    }
    ret[0] = 0;
    for (u32 k = 0; k < SUGGESTIONS && best[k] && used < cap; k++) {
        int n = snprintf(ret + used, cap - used, "%s%.100s", k ? ", " : "", best[k]);

        used += n > 0 ? (size_t)n : 0;
    }
}

#define VERSION_HIDDEN 0x8000u /* an older one, which is had only by its name */
#define VERSIONS_MAX   4096u

/* What a symbol's version is called; "": nothing. */
static const char *version_name(const struct tn_module *m, u16 version)
{
    const u8 *defs = m->versions.defs;
    u64 at = 0;

    for (u32 n = 0; defs && n < VERSIONS_MAX; n++) {
        Elf64_Verdef def;
        Elf64_Verdaux aux;
        const char *name;

        if (at > m->versions.ndefs || m->versions.ndefs - at < sizeof(def))
            return "";
        memcpy(&def, defs + at, sizeof(def));
        if (def.vd_ndx == (version & ~VERSION_HIDDEN) && def.vd_ndx > VER_NDX_GLOBAL) {
            if (m->versions.ndefs - at < (u64)def.vd_aux + sizeof(aux))
                return "";
            memcpy(&aux, defs + at + def.vd_aux, sizeof(aux));
            name = string(m->versions.names, m->versions.nnames, aux.vda_name);
            return name ? name : "";
        }
        if (!def.vd_next)
            return "";
        at += def.vd_next;
    }
    return "";
}

/* NAME@VERSION of a library, NAME@@VERSION only if it is what a plain NAME means. The other table of symbols has names as they
   stand here. */
static bool is_version(const struct tn_module *m, const struct tn_func *f, const char *name)
{
    const size_t len = strcspn(name, "@");
    const bool plain = name[len + 1] == '@';
    const char *wanted = name + len + 1 + plain, *there = f->name + len;

    if (strncmp(f->name, name, len) != 0)
        return false;
    if (!*there)
        return *wanted && !strcmp(version_name(m, f->version), wanted) &&
               !(plain && f->version & VERSION_HIDDEN);
    return *there == '@' && !strcmp(there + 1 + (there[1] == '@'), wanted) && !(plain && there[1] != '@');
}

/* The versions that there are of a name. */
static void tell_versions(const struct tn_module *m, const char *name, char *ret, size_t cap)
{
    const size_t len = strcspn(name, "@");
    size_t used = 0;

    ret[0] = 0;
    for (u32 i = 0; i < m->nnames && used < cap; i++) {
        const struct tn_func *f = &m->names[i];
        const char *version = version_name(m, f->version);

        if (strncmp(f->name, name, len) == 0 && !f->name[len] && *version)
            used += (size_t)snprintf(ret + used, cap - used, "%s%.*s%s%.100s", used ? ", " : "", (int)len,
                                     name, f->version & VERSION_HIDDEN ? "@" : "@@", version);
    }
}

int tn_module_find(const struct tn_module *m, const char *name, u64 *ret_addr, struct tn_error *err)
{
    const bool versioned = strchr(name, '@') != NULL;
    const struct tn_func *found = NULL;
    char near[600];

    for (u32 i = 0; i < m->nnames; i++) {
        const struct tn_func *f = &m->names[i];

        if (strcmp(f->name, name) != 0 && !(versioned && is_version(m, f, name)))
            continue;
        if (!found || (!versioned && found->version & VERSION_HIDDEN && !(f->version & VERSION_HIDDEN)))
            found = f;
        if (versioned || !(found->version & VERSION_HIDDEN))
            break;
    }
    if (found) {
        *ret_addr = found->addr;
        return 0;
    }
    if (versioned) {
        tell_versions(m, name, near, sizeof(near));
        if (near[0])
            return tn_fail(err, -ENOENT, tn_refusal_name(TN_REFUSE_NO_SYMBOL),
                           "no function \"%.200s\"; there are: %s", name, near);
    }
    suggest(m, name, near, sizeof(near));
    if (!near[0] && !m->nnames)
        return tn_fail(err, -ENOENT, tn_refusal_name(TN_REFUSE_NO_SYMBOL),
                       "no function \"%.200s\": the file has no symbols (it is stripped); name a file offset",
                       name);
    return tn_fail(err, -ENOENT, tn_refusal_name(TN_REFUSE_NO_SYMBOL), "no function \"%.200s\"%s%s", name,
                   near[0] ? "; the nearest names are: " : "", near);
}

bool tn_module_chooses(const struct tn_module *m, u64 addr)
{
    const struct tn_func *f = tn_module_func(m, addr);

    return f && f->addr == addr && f->chooser;
}

u32 tn_module_nnames(const struct tn_module *m)
{
    return m->nnames;
}

const char *tn_module_name_at(const struct tn_module *m, u32 index, u64 *ret_addr)
{
    *ret_addr = m->names[index].addr;
    return tn_module_code(m, m->names[index].addr) ? m->names[index].name : NULL;
}

const struct tn_func *tn_module_func(const struct tn_module *m, u64 addr)
{
    u32 lo = 0, hi = m->funcs.n;

    while (lo < hi) {
        u32 mid = lo + (hi - lo) / 2;

        if (m->funcs.at[mid].addr <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (u32 tries = 0; lo-- > 0 && tries < 64; tries++) {
        const struct tn_func *f = &m->funcs.at[lo];

        if (addr == f->addr || addr - f->addr < f->size)
            return f;
    }
    return NULL;
}

bool tn_module_is_go(const struct tn_module *m)
{
    return m->go;
}

u32 tn_module_build_id(const struct tn_module *m, const u8 **ret_id)
{
    *ret_id = m->build_id;
    return m->build_id_len;
}

u64 tn_module_base(const struct tn_module *m)
{
    return m->base;
}
