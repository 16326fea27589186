# SPDX-License-Identifier: MIT
#
# Thin: Meson and Ninja build, this file only installs what is missing and names the usual things.
#
#   make          build            make demo    nginx extended while it serves, explained
#   make check    every test       make bench   the table of figures
#   make install DESTDIR= PREFIX=  make format  make clean  make deps

PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)
NAME ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo tree)
MAKEFLAGS += --no-print-directory

.PHONY: all build deps demo check bench install clean format
all: build

deps:
	@packaging/install-deps

build/build.ninja: | deps
	@CC=gcc meson setup build --prefix='$(PREFIX)' --libdir=lib >/dev/null || { meson setup build; exit 1; }

build: deps build/build.ninja
	@ninja -C build -j$(JOBS)

demo: build
	@apps/nginx/demo build

check: deps
	@tests/run

bench: build
	@bench/run build '$(NAME)'

install: build
	@meson configure build --prefix='$(PREFIX)' >/dev/null
	@DESTDIR='$(DESTDIR)' meson install -C build

format:
	@git ls-files '*.c' '*.h' | xargs -r clang-format -i

clean:
	@rm -rf build build-clang build-asan
