#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What is written about the project, held against the project; and what must not be in it.

setup() {
    cd "$BATS_TEST_DIRNAME/../.." || exit 1
    TENON=$PWD/build/src/cli/tenon
}

commands() { sed -n 's/^    C(\([a-z]*\),.*/\1/p' src/cli/commands.h | grep -v '^broker$'; }

@test "every command has a manual page, and every page is installed and without a warning" {
    for command in $(commands); do
        [ -f "man/tenon-$command.1" ] || { echo "man/tenon-$command.1 is missing"; false; }
        grep -q "'tenon-$command.1'" man/meson.build
        grep -q "tenon-$command\|BR $command\|, \" $command \"\|\" $command " man/tenon.1
    done
    for page in man/*.1; do
        warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
        [ -z "$warnings" ] || { echo "$page: $warnings"; false; }
    done
}

@test "every option of every command is in its manual page, and no other is" {
    [ -x "$TENON" ] || skip "build/ has no tenon"
    for command in $(commands); do
        options=$("$TENON" "$command" --help | grep -o -- '--[a-z][a-z-]*' | sort -u | grep -vxE -- '--(help|usage|version)' || true)
        page=$(sed 's/\\-/-/g' "man/tenon-$command.1")
        for option in $options; do
            grep -q -- "$option" <<<"$page" || { echo "$command: $option is not in the manual"; false; }
        done
        for option in $(grep -o -- '^\.BR .*' <<<"$page" | grep -o -- '--[a-z][a-z-]*'); do
            grep -qx -- "$option" <<<"$options" || { echo "$command: the manual has $option"; false; }
        done
    done
}

@test "the architecture names every room, and no other" {
    for room in $(git ls-files 'src/*/*' | cut -d/ -f2 | sort -u); do
        grep -q "\`src/$room\`" docs/architecture.md || { echo "src/$room is not in docs/architecture.md"; false; }
    done
    for room in $(grep -o '`src/[a-z0-9]*`' docs/architecture.md | tr -d '\`' | sort -u); do
        [ -d "$room" ] || { echo "$room is in docs/architecture.md only"; false; }
    done
}

@test "links between documents lead somewhere" {
    for document in README.md CONTRIBUTING.md docs/*.md apps/*/README.md; do
        for link in $(grep -o '](\([^)#]*\)' "$document" | sed 's/](//' | grep -v '^http'); do
            [ -e "$(dirname "$document")/$link" ] || { echo "$document: $link"; false; }
        done
    done
}

@test "the README begins with the two commands" {
    grep -n 'make demo' README.md | head -n 1 | cut -d: -f1 | { read -r line; [ "$line" -le 15 ]; }
    grep -n 'make check' README.md | head -n 1 | cut -d: -f1 | { read -r line; [ "$line" -le 15 ]; }
}

@test "no generated binary and no path of a machine is committed" {
    git ls-files -z | while IFS= read -r -d '' file; do
        # tests may keep a small input that is no text
        if [ -s "$file" ] && ! grep -qI . "$file" && [[ $file != tests/* && $file != fuzz/* ]]; then
            echo "binary: $file"
            exit 1
        fi
        case $(head -c 4 "$file" | tr -d '\0') in $'\177ELF' | '!<ar') echo "built: $file"; exit 1 ;; esac
    done
    run git grep -nIE '(^|[^A-Za-z0-9_./-])/(work|home|root)/[a-z]' -- ':!tests/repo/documents.bats'
    echo "$output"
    [ "$status" -eq 1 ]
}

@test "every source has its licence on top and an idea under it" {
    for file in $(git ls-files 'src/*.c' 'src/*.h' 'bench/*.c' 'apps/*.c'); do
        head -n 1 "$file" | grep -q 'SPDX-License-Identifier: MIT' || { echo "$file: no licence"; false; }
        sed -n 2,3p "$file" | grep -q '/\*' || { echo "$file: does not open with its idea"; false; }
    done
}

@test "nothing is left for later in silence" {
    run git grep -nE '\b(TODO|FIXME|XXX)\b' -- '*.c' '*.h' '*.md' '*.py' '*.sh'
    echo "$output"
    [ "$status" -eq 1 ]
}

@test "the list of packages is sorted, and names each once" {
    sort -c packaging/packages.txt
    [ -z "$(uniq -d packaging/packages.txt)" ]
}

@test "sources are formatted as .clang-format says, except where they say otherwise" {
    command -v clang-format >/dev/null || skip "no clang-format"
    run bash -c 'git ls-files "src/cli/*.c" "src/cli/*.h" | xargs clang-format --dry-run -Werror'
    echo "$output"
    [ "$status" -eq 0 ]
}
