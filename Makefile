# coracle: one non-recursive Makefile. `make help` lists the targets; `./build.sh` does set-up, vendor and make in one go.
#
# Every folder is one static archive; a unit test links the archives its folder may include and no others, so a layering
# mistake is a link error. Everything lands in build/: VARIANT=release|asan|tsan|coverage|fuzz chooses compiler and flags, BUILD= moves
# our own objects elsewhere (third-party sources and libraries stay shared in build/src, build/include, build/prefix*).

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS   += --no-builtin-rules --no-builtin-variables
.DEFAULT_GOAL := all

BUILD   ?= build
VARIANT ?= release
# MUTANT=reply-before-sync compiles that one fault in (core/base/mutant.h), into a place of its own.
MUTANT  ?=
O       := $(BUILD)/$(VARIANT)$(MUTANT:%=-mutant-%)
GEN     := build/gen
INC     := build/include
Q       := $(if $(V),,@)
silent  := $(findstring s,$(firstword -$(MAKEFLAGS)))
say      = $(if $(V)$(silent),@:,@printf '  %-8s %s\n' '$1' '$2')

ARCH    := $(shell uname -m)
HOSTCC  := gcc
CLANG   := clang-14
AR      := ar
PYTHON  := /usr/bin/python3
VERSION := $(shell cat vendor/version)

# ---------------------------------------------------------------------------------------------------- variants

HARDEN       := -fstack-protector-strong -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections
PREFIX_MAP   := -ffile-prefix-map=$(CURDIR)=.
MUSL_CC      := build/prefix/bin/musl-gcc
STATIC_PIE   := -static-pie -Wl,--gc-sections,-z,relro,-z,now,-z,noexecstack
SANITIZE     := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

CC_release      := $(MUSL_CC)
LIBROOT_release := build/prefix
FLAGS_release   := -O2 -fPIE $(HARDEN)
LDFLAGS_release := $(STATIC_PIE)

CC_coverage      := $(MUSL_CC)
LIBROOT_coverage  := build/prefix
FLAGS_coverage   := -O0 -fPIE --coverage -fprofile-update=atomic -DCORACLE_CHECKED
LDFLAGS_coverage := $(STATIC_PIE) --coverage

CC_asan      := $(HOSTCC)
LIBROOT_asan  := build/prefix-asan
FLAGS_asan   := -O1 $(SANITIZE) -DCORACLE_CHECKED
LDFLAGS_asan := $(SANITIZE) -pthread

CC_tsan      := $(HOSTCC)
LIBROOT_tsan  := build/prefix-tsan
FLAGS_tsan   := -O1 -fsanitize=thread -fno-omit-frame-pointer -DCORACLE_CHECKED
LDFLAGS_tsan := -fsanitize=thread -pthread

CC_fuzz      := $(CLANG)
LIBROOT_fuzz  := build/prefix-fuzz
FLAGS_fuzz   := -O1 $(SANITIZE) -fsanitize=fuzzer-no-link -DCORACLE_CHECKED
LDFLAGS_fuzz := $(SANITIZE) -pthread

ifeq ($(CC_$(VARIANT)),)
$(error VARIANT=$(VARIANT) is none of: release asan tsan coverage fuzz)
endif

CC     := $(CC_$(VARIANT))
LIBROOT := $(LIBROOT_$(VARIANT))

# The third-party libraries get the variant's flags without our own warnings. UBSan only where it is affordable and clean.
VENDOR_FLAGS_build/prefix      := -O2 -g0 -fPIE $(HARDEN)
VENDOR_FLAGS_build/prefix-asan := -O1 -g $(SANITIZE)
VENDOR_FLAGS_build/prefix-tsan := -O1 -g -fsanitize=thread
VENDOR_FLAGS_build/prefix-fuzz := -O1 -g -fsanitize=address -fsanitize=fuzzer-no-link

include vendor/recipes.mk

# -------------------------------------------------------------------------------------------------------- flags

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wundef -Wvla \
        -Wformat=2 -Wimplicit-fallthrough -Wswitch-enum -Werror
ELF_WARN := $(WARN)
ifeq ($(VARIANT),fuzz)
WARN := -Wall -Wextra
endif

CPPFLAGS := -std=gnu17 -Ulinux -D_GNU_SOURCE -I. -I$(GEN) -isystem $(INC) $(PB_DEFS) $(INI_DEFS) $(VENDOR_DEFS)
CFLAGS   := $(FLAGS_$(VARIANT)) -g $(PREFIX_MAP) $(if $(MUTANT),-DMUTANT_$(subst -,_,$(MUTANT)))
LDFLAGS  := $(LDFLAGS_$(VARIANT))

# Only cmd knows the version, so that a new one compiles little again; the rest is told by its constructors.
cmd_flags             := -DCORACLE_VERSION='"$(VERSION)"'
# A test may define __wrap_x, a fuzz target LLVMFuzzerTestOneInput: nobody declares these.
test_flags            := -Wno-missing-prototypes

# ------------------------------------------------------------------------------------------------------ folders

FOLDERS_ALL := core/base core/loop core/config core/state core/journal core/monitor core/run core/net core/image core/life \
               nri cri/grpc cri/rpc cri/spec cri/stream cri cmd cmd/ctl cmd/migrate cmd/check

# Programs, not library members.
MAINS := cmd/main.c core/monitor/main.c core/monitor/pause.c

# What a folder may call, all the way down: design rule "layers" (scripts/check-layers.sh checks the #include lines).
deps_core/base    :=
deps_core/loop    := core/base core/config
deps_core/config  := core/base core/loop
deps_core/state   := core/base
deps_core/journal := core/base core/loop core/config core/state
deps_core/monitor := core/base core/state
deps_core/run     := core/base core/loop core/config core/state core/monitor
deps_core/net     := core/base core/loop core/config core/state
deps_core/image   := core/base core/loop core/config core/state core/run core/monitor
deps_core/life    := core/base core/loop core/config core/state core/journal core/run core/monitor core/net core/image
deps_nri          := core/base core/loop core/config core/state core/run core/monitor core/life
deps_cri/grpc     := core/base core/loop core/config
deps_cri/stream   := core/base core/loop core/config core/state core/run core/monitor core/life
deps_cri/spec     := core/base core/loop core/config core/state core/run core/monitor core/image core/life
deps_cri/rpc      := $(deps_core/life) core/life cri/grpc cri/spec cri/stream
deps_cri          := $(deps_cri/rpc) cri/rpc
deps_cmd          := $(filter-out cmd,$(FOLDERS_ALL))
deps_cmd/ctl      := $(filter-out cmd/ctl cmd/migrate cmd/check,$(FOLDERS_ALL))
deps_cmd/migrate  := core/image $(deps_core/image)
deps_cmd/check    := $(filter-out cmd/ctl cmd/check,$(FOLDERS_ALL))

srcs     = $(filter-out $(MAINS),$(wildcard $1/*.c))
FOLDERS := $(foreach f,$(FOLDERS_ALL),$(if $(call srcs,$f),$f))
lib      = $O/lib/$(subst /,-,$1).a
objs     = $(patsubst %.c,$O/obj/%.o,$1)

# ------------------------------------------------------------------------------------------------------- protos

PROTOS  := $(wildcard core/state/*.proto nri/proto/*.proto cri/proto/*.proto)
GEN_H   := $(PROTOS:%.proto=$(GEN)/%.pb.h)
gen_lib  = $O/lib/gen-$(subst /,-,$(basename $1)).a

# Folders whose code speaks these messages.
protos_core/state := $(filter core/state/%,$(PROTOS))
protos_nri        := $(filter nri/%,$(PROTOS))
protos_cri/grpc   := $(filter cri/%,$(PROTOS))
protos_cri/spec   := $(filter cri/%,$(PROTOS))
protos_cri/rpc    := $(filter cri/%,$(PROTOS))
protos_cri/stream := $(filter cri/%,$(PROTOS))
protos_cri        := $(filter cri/%,$(PROTOS))

# What a program needs that calls the given folders.
closure  = $(sort $(foreach f,$1,$f $(deps_$f)))
archives = $(foreach f,$(filter $(closure),$(FOLDERS)),$(call lib,$f)) \
           $(foreach p,$(sort $(foreach f,$(closure),$(protos_$f))),$(call gen_lib,$p)) \
           $(if $(filter core/run,$(closure)),$(EMBED))

# ---------------------------------------------------------------------------------------- parse-time bookkeeping

# key FILE,TEXT: FILE holds TEXT, and is written (hence newer than its dependents) only when TEXT changed.
same = $(and $(findstring x$1x,x$2x),$(findstring x$2x,x$1x))
key  = $(if $(call same,$(strip $(file <$1)),$(strip $2)),,$(shell mkdir -p $(dir $1))$(file >$1,$(strip $2)))

HOST_VERSION := $(HOSTCC) $(shell $(HOSTCC) -dumpfullversion 2>/dev/null) $(ARCH)
CC_VERSION   := $(HOST_VERSION) $(if $(filter $(CLANG),$(CC)),$(shell $(CLANG) -dumpversion 2>/dev/null))

# ------------------------------------------------------------------------------------------------------- vendor

MANIFEST := $(shell awk -F'\t' '/^[^\#]/ { print $$1 "|" $$2 "|" $$3 "|" $$4 }' vendor/manifest.tsv)
row       = $(filter $1|%,$(MANIFEST))
SRC_NAMES := musl $(VENDOR_LIBS)

$(foreach n,$(SRC_NAMES),$(call key,build/keys/src-$n,$(call row,$n)))
$(foreach n,$(VENDOR_LIBS),$(call key,build/keys/inc-$n,$($n_headers)))
$(foreach n,$(VENDOR_LIBS),$(call key,build/keys/$(notdir $(LIBROOT))-$n,$($n_src) $($n_flags) $(foreach f,$(notdir $($n_src)) aesni.c,$($n_flags_$f)) \
	$(VENDOR_FLAGS_$(LIBROOT)) $(CC) $(CC_VERSION)))

MUSL_FLAGS := -O2 -g0
$(call key,build/keys/prefix-musl,$(MUSL_FLAGS) $(HOST_VERSION))

# Sources: unpacked and patched. One stamp per name.
build/stamp/src-%: build/keys/src-%
	$(call say,UNPACK,$*)
	$(Q)scripts/vendor.sh unpack $*
	$(Q)mkdir -p $(@D) && touch $@

# musl, with the kernel's headers copied beside its own: the wrapper looks nowhere else. Several makes may get here at
# once; the last one wins, and none sees half a tree.
build/stamp/musl: build/stamp/src-musl build/keys/prefix-musl
	$(call say,MUSL,build/prefix)
	$(Q)mkdir -p build/log build/prefix && obj=build/musl-obj.$$$$ new=build/musl-new.$$$$ && trap "rm -rf $$obj $$new" EXIT && mkdir $$obj && \
	( cd $$obj && unset MAKEFLAGS MFLAGS MAKELEVEL && \
	    ../src/musl/configure --prefix='$(CURDIR)/build/prefix' --syslibdir='$(CURDIR)/build/prefix/lib' --disable-shared \
	        --enable-wrapper=gcc CC=$(HOSTCC) CFLAGS="$(MUSL_FLAGS) -ffile-prefix-map=$$PWD=musl" && \
	    make -j$$(nproc) && make install DESTDIR="../../$$new" ) >build/log/musl.log 2>&1 || { tail -n 20 build/log/musl.log >&2; exit 1; }; \
	tree=$$new$(CURDIR)/build/prefix && \
	cp -rL /usr/include/linux /usr/include/asm-generic $$tree/include/ && \
	cp -rL "/usr/include/$$($(HOSTCC) -print-multiarch)/asm" $$tree/include/asm && \
	mkdir -p build/prefix/lib && for dir in include bin; do rm -rf build/prefix/$$dir && mv $$tree/$$dir build/prefix/$$dir; done && \
	mv $$tree/lib/* build/prefix/lib/
	$(Q)mkdir -p $(@D) && touch $@

# Public headers, shared by all variants.
build/stamp/inc-%: build/stamp/src-% build/keys/inc-%
	$(Q)mkdir -p $(INC) && src=build/src/$* inc=$(INC) && $($*_headers)
	$(Q)touch $@
build/stamp/inc-mbedtls: vendor/mbedtls_config.h
build/stamp/inc-cmocka: vendor/cmocka_config.h
HEADERS := $(VENDOR_LIBS:%=build/stamp/inc-%)

TOOLCHAIN := $(if $(filter $(MUSL_CC),$(CC)),build/stamp/musl)

$(VENDOR_LIBS:%=$(LIBROOT)/lib/lib%.a): $(LIBROOT)/lib/lib%.a: build/stamp/inc-% build/keys/$(notdir $(LIBROOT))-% $(TOOLCHAIN)
	$(call say,VENDOR,$@)
	$(Q)mkdir -p $(@D) build/log && tmp=$@.$$$$ && rm -rf $$tmp && mkdir $$tmp && trap "rm -rf $$tmp" EXIT && \
	for f in $(foreach s,$($*_src),$(if $(filter vendor/%,$s),$s,build/src/$*/$s)); do \
		case $$f in \
		*.asm) nasm $($*_nasm) -o $$tmp/$$(basename $$f).o $$f ;; \
		*/aesni.c) $(CC) $(VENDOR_FLAGS_$(LIBROOT)) $(PREFIX_MAP) -w -isystem $(INC) $($*_flags) $($*_flags_aesni.c) -c -o $$tmp/aesni.c.o $$f ;; \
		*) $(CC) $(VENDOR_FLAGS_$(LIBROOT)) $(PREFIX_MAP) -w -isystem $(INC) $($*_flags) $(if $(filter yyjson,$*),$(if $(filter %-asan,$(LIBROOT)),-fno-sanitize=undefined)) \
			-c -o $$tmp/$$(basename $$f).o $$f ;; \
		esac || { echo "vendor: $*: $$f does not compile" >&2; exit 1; }; \
	done && $(AR) rcsD $$tmp/lib.a $$tmp/*.o && mv $$tmp/lib.a $@
$(LIBROOT)/lib/libnanopb.a: core/base/pb_arena.h
$(LIBROOT)/lib/libisal.a: vendor/isal_shim.c

VENDOR_ALL  := $(VENDOR_LIBS:%=$(LIBROOT)/lib/lib%.a)
VENDOR_LINK := $(filter-out %/libcmocka.a,$(VENDOR_ALL)) # for coracle: cmocka is for tests

# -------------------------------------------------------------------------------------------- compile and archive

$(call key,$O/keys/cflags,$(CC) $(CC_VERSION) $(CPPFLAGS) $(CFLAGS) $(WARN) $(cmd_flags))

path_flags = $(if $(filter cmd/%,$1),$(cmd_flags)) $(if $(filter tests/%,$1),$(test_flags))

$O/obj/%.o: %.c $O/keys/cflags $(HEADERS) $(TOOLCHAIN) | $(GEN_H)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(call path_flags,$*) -MMD -MP -c -o $@ $<

$O/obj-gen/%.o: $(GEN)/%.c $O/keys/cflags $(HEADERS) $(TOOLCHAIN) | $(GEN_H)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(PB_ALLOC) -w -MMD -MP -c -o $@ $<

# nanopb's generator, with its options file of the same name beside the schema. Several makes may run at once: rename.
$(GEN)/%.pb.c $(GEN)/%.pb.h: %.proto build/stamp/src-nanopb build/stamp/nanopb-generator
	$(call say,PROTO,$<)
	$(Q)mkdir -p $(GEN)/$(*D) && tmp=$(GEN)/.$(notdir $*).$$$$ && rm -rf $$tmp && mkdir $$tmp && trap "rm -rf $$tmp" EXIT && \
	$(PYTHON) build/src/nanopb/generator/nanopb_generator.py -q -I . -D $$tmp $< && \
	mv $$tmp/$*.pb.c $(GEN)/$*.pb.c && mv $$tmp/$*.pb.h $(GEN)/$*.pb.h

# The generator compiles its own schema on first use, into its own directory.
build/stamp/nanopb-generator: build/stamp/src-nanopb
	$(Q)$(PYTHON) -c 'import google.protobuf' 2>/dev/null || { echo "make: $(PYTHON) has no google.protobuf: apt-get install python3-protobuf" >&2; exit 1; }
	$(Q)$(PYTHON) build/src/nanopb/generator/nanopb_generator.py --version >/dev/null && touch $@

define proto_rules
$(GEN)/$(basename $1).pb.c $(GEN)/$(basename $1).pb.h: $(wildcard $(basename $1).options)
$(call gen_lib,$1): $O/obj-gen/$(basename $1).pb.o
	$$(Q)mkdir -p $$(@D) && rm -f $$@ && $$(AR) rcsD $$@ $$<
endef
$(foreach p,$(PROTOS),$(eval $(call proto_rules,$p)))

define folder_rules
$(call key,$O/keys/lib-$(subst /,-,$1),$(call srcs,$1))
$(call lib,$1): $(call objs,$(call srcs,$1)) $O/keys/lib-$(subst /,-,$1)
	$$(Q)mkdir -p $$(@D) && rm -f $$@ && $$(AR) rcsD $$@ $$(filter %.o,$$^)
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rules,$f)))

# ------------------------------------------------------------- the embedded programs: monitor and pause (core/monitor)

# Neither position independent nor dynamic: without relocations all monitors of a node share their pages. Always musl,
# whatever the variant.
E          := $(BUILD)/elf
ELF_CFLAGS := -Os -fno-pie -no-pie $(HARDEN) $(PREFIX_MAP) -g
ELF_LINK   := $(MUSL_CC) -static -no-pie -Wl,--gc-sections,-z,noexecstack,-z,norelro,--build-id=none -s
elf_objs    = $(patsubst %.c,$E/obj/%.o,$1)
MONITOR_C  := $(if $(wildcard core/monitor/main.c),core/monitor/main.c $(call srcs,core/monitor) $(wildcard core/state/exit_record.c))
PAUSE_C    := $(wildcard core/monitor/pause.c)

$(call key,$E/keys,$(ELF_CFLAGS) $(ELF_LINK) $(CPPFLAGS) $(ELF_WARN) $(HOST_VERSION) $(MONITOR_C) $(PAUSE_C))

$E/obj/%.o: %.c $E/keys $(HEADERS) build/stamp/musl | $(GEN_H)
	$(call say,CC,$< (elf))
	$(Q)mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(ELF_CFLAGS) $(ELF_WARN) -MMD -MP -c -o $@ $<

$E/base.a: $(call elf_objs,$(call srcs,core/base)) $E/keys
	$(Q)rm -f $@ && $(AR) rcsD $@ $(filter %.o,$^)

# An empty file stands in while there is no source: the symbols then enclose nothing.
$E/monitor: $(call elf_objs,$(MONITOR_C)) $(if $(MONITOR_C),$E/base.a) $E/keys scripts/check-elf.sh
	$(call say,LINK,$@)
	$(Q)$(if $(MONITOR_C),$(ELF_LINK) -o $@ $(filter %.o,$^) $E/base.a && scripts/check-elf.sh plain $@,mkdir -p $(@D) && : >$@)

$E/pause: $(call elf_objs,$(PAUSE_C)) $E/keys scripts/check-elf.sh
	$(call say,LINK,$@)
	$(Q)$(if $(PAUSE_C),$(ELF_LINK) -o $@ $(filter %.o,$^) && scripts/check-elf.sh plain $@,mkdir -p $(@D) && : >$@)

EMBED := $O/lib/embedded.a
$(EMBED): core/run/embedded.S $E/monitor $E/pause | $(TOOLCHAIN)
	$(Q)mkdir -p $(@D) && rm -f $@
	$(Q)$(CC) -c -DMONITOR='"$E/monitor"' -DPAUSE='"$E/pause"' -o $O/lib/embedded.o $< && $(AR) rcsD $@ $O/lib/embedded.o && rm $O/lib/embedded.o

# ---------------------------------------------------------------------------------------------------- the binary

CORACLE  := $(if $(filter release,$(VARIANT)),$(BUILD)/coracle,$O/coracle)
ALL_LIBS := $(foreach f,$(FOLDERS),$(call lib,$f)) $(foreach p,$(PROTOS),$(call gen_lib,$p)) $(EMBED)

$(CORACLE): $O/obj/cmd/main.o $(ALL_LIBS) $(VENDOR_LINK) scripts/check-elf.sh
	$(call say,LINK,$@)
ifeq ($(VARIANT),release)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--build-id=sha1,-Map=$O/coracle.map -o $O/coracle.full $< -Wl,--start-group $(ALL_LIBS) $(VENDOR_LINK) -Wl,--end-group
	$(Q)objcopy --only-keep-debug $O/coracle.full $(BUILD)/coracle.debug
	$(Q)strip -o $O/coracle.stripped $O/coracle.full && scripts/check-elf.sh pie $O/coracle.stripped
	$(Q)objcopy --add-gnu-debuglink=$(BUILD)/coracle.debug $O/coracle.stripped && mv $O/coracle.stripped $@
else
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(ALL_LIBS) $(VENDOR_LINK) -Wl,--end-group
endif

.PHONY: all
all: $(CORACLE)

# ---------------------------------------------------------------------------------------------------- unit tests

# T=core/net or T=core/net/test_cni narrows `make check` down.
T        ?=
TESTS_C  := $(sort $(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c tests/unit/*/*/*/test_*.c))
TESTS_C  := $(if $T,$(filter tests/unit/$(T:/=)/% tests/unit/$T.c,$(TESTS_C)),$(TESTS_C))
TESTS    := $(TESTS_C:tests/unit/%.c=$O/tests/%)

# The fakes stand in for code of ours: only who asks for them by link-with gets them.
TEST_LIB_C := $(filter-out tests/lib/fixture.c tests/lib/fake_%.c,$(wildcard tests/lib/*.c))
TEST_LIB   := $(if $(TEST_LIB_C),$O/lib/tests-lib.a)
$(call key,$O/keys/tests-lib,$(TEST_LIB_C))
$O/lib/tests-lib.a: $(call objs,$(TEST_LIB_C)) $O/keys/tests-lib
	$(Q)mkdir -p $(@D) && rm -f $@ && $(AR) rcsD $@ $(filter %.o,$^)

# A comment /* link-with: tests/crash/simdisk.c */ in a program's source links that file too, ahead of the archives: it may stand in
# for one of ours.
LINK_WITH := $(shell grep -r --include='*.c' -o 'link-with:[^*]*' tests 2>/dev/null | awk '{ file = $$1; sub(":link-with:$$", "", file); for (i = 2; i <= NF; i++) print file "|" $$i }')
named      = $(foreach s,$1,$(patsubst $s|%,%,$(filter $s|%,$(LINK_WITH))))
with       = $(sort $1 $(call named,$1 $(call named,$1)))

# The folders that a program outside tests/unit calls: what its #include lines name.
PROGRAMS_C     := $(sort $(wildcard tests/fuzz/fuzz_*.c tests/integration/test_*.c tests/integration/*/test_*.c))
PROGRAM_INCS   := $(if $(PROGRAMS_C),$(shell awk -F'"' '/^\#include "/ && sub("/[^/]*$$", "", $$2) { print FILENAME "|" $$2 }' $(PROGRAMS_C)))
includes        = $(sort $(patsubst $1|%,%,$(filter $1|%,$(PROGRAM_INCS))))
program_folders = $(filter $(FOLDERS_ALL),$(call includes,$1) $(if $(filter cri/proto,$(call includes,$1)),cri/grpc) $(if $(filter nri/proto,$(call includes,$1)),nri))

# A comment /* link-wrap: fsync fdatasync */ in a test replaces these functions at link time.
wraps = $$(sed -n 's,^.*/\* *link-wrap:\([^*]*\)\*/.*$$,\1,p' $(call with,$1) | tr -s ' \t' '\n' | sed -n 's/..*/-Wl,--wrap=&/p')

# program_rule PROGRAM,SOURCES,FOLDERS,LINK FLAGS: a program of ours that is not coracle.
define program_rule
$1: $(call objs,$(call with,$2)) $(TEST_LIB) $(call archives,$3) $(VENDOR_ALL)
	$$(call say,LINK,$1)
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) $4 $$(call wraps,$2) -o $$@ $(call objs,$(call with,$2)) \
		-Wl,--start-group $(TEST_LIB) $(call archives,$3) $$(VENDOR_ALL) -Wl,--end-group
endef
$(foreach t,$(TESTS_C),$(eval $(call program_rule,$(t:tests/unit/%.c=$O/tests/%),$t,$(patsubst tests/unit/%/,%,$(dir $t)))))

.PHONY: check check-build $(addprefix check-,core $(FOLDERS_ALL))
check-build: $(TESTS)
check: $(TESTS)
	$(Q)$(SAN_ENV) scripts/run-tests.sh $O/tests $(TESTS)
$(addprefix check-,core $(FOLDERS_ALL)): check-%:
	$(Q)$(MAKE) --no-print-directory check T=$*

# A finding ends the program; allocation stays checked, since an exit code alone is easily lost in a pipe.
SAN_ENV := ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0 \
           UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

.PHONY: asan tsan
asan tsan:
	$(Q)$(MAKE) --no-print-directory VARIANT=$@ check

# -------------------------------------------------------------------------------------- crash, integration, bench

# Programs of tests/crash and tests/bench may use everything; the other files of tests/crash are linked into its programs.
CRASH_C     := $(sort $(wildcard tests/crash/test_*.c tests/crash/matrix.c))
CRASH_LIB_C := $(filter-out $(CRASH_C),$(wildcard tests/crash/*.c))
CRASH    := $(CRASH_C:tests/crash/%.c=$O/crash/%)
BENCH_C  := $(sort $(wildcard tests/bench/*.c))
BENCH    := $(BENCH_C:tests/bench/%.c=$O/bench/%)
ALL_FOLDERS := $(filter-out cmd cmd/ctl cmd/check,$(FOLDERS_ALL))
# Files with a MUTANT() (core/base/mutant.h) are compiled for these programs once more, with the faults in them.
MUTANT_O    := $(patsubst %.c,$O/obj-mutant/%.o,$(shell grep -l base/mutant.h core/*/*.c))
$(foreach t,$(CRASH_C),$(eval $(call program_rule,$(t:tests/crash/%.c=$O/crash/%),$t $(CRASH_LIB_C),$(ALL_FOLDERS),$(MUTANT_O))))
$(CRASH): $(MUTANT_O)
$O/obj-mutant/%.o: %.c $O/keys/cflags $(HEADERS) $(TOOLCHAIN) | $(GEN_H)
	$(call say,CC,$< (mutants))
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) -DCORACLE_MUTANTS -MMD -MP -c -o $@ $<
$(foreach t,$(BENCH_C),$(eval $(call program_rule,$(t:tests/bench/%.c=$O/bench/%),$t,$(ALL_FOLDERS))))

# tests/integration/**/test_*.c are cmocka programs too, one at a time since they change the machine; the rest are scripts:
# tests/integration/AREA/run.sh, all of them started by tests/integration/run.sh.
# T narrows them down as it does for check.
INTEGRATION_C := $(filter tests/integration/%,$(PROGRAMS_C))
INTEGRATION_C := $(if $T,$(filter tests/integration/$(T:/=)/% tests/integration/$T.c,$(INTEGRATION_C)),$(INTEGRATION_C))
INTEGRATION   := $(INTEGRATION_C:tests/integration/%.c=$O/integration/%)
$(foreach t,$(INTEGRATION_C),$(eval $(call program_rule,$(t:tests/integration/%.c=$O/integration/%),$t,$(call program_folders,$t))))
INTEGRATION_SH   := $(if $T,$(wildcard tests/integration/$(T:/=)/run.sh))
INTEGRATION_RUNS := $(if $(INTEGRATION),'JOBS=1 TEST_TIMEOUT=600 scripts/run-tests.sh $O/integration $(INTEGRATION)') \
                    $(if $T,$(INTEGRATION_SH),tests/integration/run.sh)

# MUTANT=name: with that fault in it, must fail; without, each of them is tried after the real thing.
# crictl is built by tests/conformance/run.sh; without it the one on PATH is used.
PEERS = $(addprefix CRICTL=,$(abspath $(wildcard build/peers/crictl)))

.PHONY: check-crash check-integration bench
check-crash: $(CRASH)
	$(Q)$(SAN_ENV) MUTANT=$(MUTANT) scripts/crash-matrix.sh $O/crash $(CRASH)

check-integration: $(INTEGRATION) $(if $T,$(if $(INTEGRATION_SH),$(CORACLE)),$(CORACLE))
	$(Q)$(SAN_ENV) CORACLE=$(abspath $(CORACLE)) $(PEERS) scripts/add-counts.sh $(INTEGRATION_RUNS)

bench: $(BENCH) $(CORACLE)
	$(Q)$(if $(wildcard tests/bench/run.sh),CORACLE=$(abspath $(CORACLE)) tests/bench/run.sh $O/bench,set -- $(BENCH); for program; do $$program; done)

# ---------------------------------------------------------------------------------------------------------- fuzz

# tests/fuzz/fuzz_X.c links what its #include lines name. `make fuzz-X` runs it until stopped or for FUZZ_SECONDS; the
# committed corpus is tests/fuzz/corpus/X, what is found on the way stays in build/fuzz/X.
FUZZ_C       := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ         := $(FUZZ_C:tests/fuzz/fuzz_%.c=%)
FUZZ_REPLAY  := $(FUZZ:%=$O/replay/%)

ifeq ($(VARIANT),fuzz)
$(foreach f,$(FUZZ),$(eval $(call program_rule,$O/fuzz/$f,tests/fuzz/fuzz_$f.c,$(call program_folders,tests/fuzz/fuzz_$f.c),-fsanitize=fuzzer)))
else
$(foreach f,$(FUZZ),$(eval $(call program_rule,$O/replay/$f,tests/fuzz/fuzz_$f.c tests/fuzz/driver.c,$(call program_folders,tests/fuzz/fuzz_$f.c))))
endif

.PHONY: fuzz-build fuzz-smoke fuzz-replay
fuzz-build: $(FUZZ:%=$O/fuzz/%)
fuzz-%:
	$(Q)$(MAKE) --no-print-directory VARIANT=fuzz $(BUILD)/fuzz/fuzz/$*
	$(Q)FUZZ_SECONDS=$${FUZZ_SECONDS:-0} scripts/fuzz.sh $(BUILD)/fuzz/fuzz $*
fuzz-smoke:
	$(Q)$(MAKE) --no-print-directory VARIANT=fuzz fuzz-build
	$(Q)FUZZ_SECONDS=$${FUZZ_SECONDS:-20} scripts/fuzz.sh $(BUILD)/fuzz/fuzz $(FUZZ)
# The corpora through the same targets without libFuzzer: any compiler, any variant.
fuzz-replay: $(FUZZ_REPLAY)
	$(Q)$(SAN_ENV) scripts/fuzz.sh --replay $O/replay $(FUZZ)

# ---------------------------------------------------------------------------------------------------------- lint

OWN_C    := $(sort $(foreach f,$(FOLDERS_ALL),$(wildcard $f/*.c)))
OWN_H    := $(sort $(foreach f,$(FOLDERS_ALL),$(wildcard $f/*.h)) $(wildcard tests/lib/*.h tests/crash/*.h))
FORMATTED := $(OWN_C) $(OWN_H) $(wildcard vendor/*.c vendor/*.h) $(shell find tests -name '*.c' -o -name '*.h' 2>/dev/null | sort)
SCRIPTS  := build.sh .ci/run $(wildcard scripts/*.sh tests/integration/*.sh tests/integration/*/run.sh tests/bench/*.sh tests/conformance/*.sh)
LINT_CC  := $(CPPFLAGS) -nostdlibinc -isystem build/prefix/include -DCORACLE_CHECKED -DCORACLE_VERSION='"$(VERSION)"'

LINTS := lint-format lint-layers lint-globals lint-headers lint-cleanup lint-scripts lint-tidy lint-cppcheck
.PHONY: lint format analyze $(LINTS)
lint:
	+$(Q)scripts/lint.sh $(LINTS)

format:
	$(Q)clang-format-14 -i $(FORMATTED)

lint-format:
	$(Q)clang-format-14 --dry-run -Werror $(FORMATTED)

lint-layers:
	$(Q)scripts/check-layers.sh

lint-globals: $(foreach f,$(FOLDERS),$(call lib,$f))
	$(Q)scripts/check-globals.sh $^

lint-headers: $(HEADERS) $(GEN_H) $(TOOLCHAIN)
	$(Q)scripts/check-headers.sh $(OWN_H) -- $(CC) $(CPPFLAGS) $(WARN) -DCORACLE_CHECKED

lint-cleanup:
	$(Q)scripts/check-cleanup.sh $(filter %.c,$(FORMATTED))

lint-scripts:
	$(Q)scripts/check-scripts.sh $(SCRIPTS)

# One stamp per file, as for objects: only what changed is looked at again. The analyser behind clang-tidy looks into small
# functions only, or this would take four minutes; TIDY_MODE=deep lets it look into all.
TIDY_MODE ?= shallow
TIDY_ARGS := $(foreach arg,-Xclang -analyzer-config -Xclang mode=$(TIDY_MODE),--extra-arg=$(arg))

$O/tidy/%.ok: %.c $O/obj/%.o .clang-tidy
	$(call say,TIDY,$<)
	$(Q)mkdir -p $(@D)
	$(Q)clang-tidy-14 --quiet $(TIDY_ARGS) $< -- $(LINT_CC) 2>$@.log || { grep -v 'warnings generated' $@.log >&2; exit 1; }
	$(Q)rm -f $@.log && touch $@
lint-tidy: $(OWN_C:%.c=$O/tidy/%.ok)

# Messages about code that the preprocessor or a header hides from cppcheck are not findings.
lint-cppcheck: $(GEN_H) $(HEADERS)
	$(Q)mkdir -p build/cppcheck
	$(Q)cppcheck --quiet --std=c11 --platform=unix64 -j2 --cppcheck-build-dir=build/cppcheck --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability --suppress=missingInclude --suppress=unknownMacro \
		--suppressions-list=scripts/cppcheck.suppress \
		--library=posix --library=gnu -I. -D_GNU_SOURCE -D__linux__ -D__x86_64__ -D__GNUC__=12 -DCORACLE_VERSION='"0"' $(OWN_C)

# gcc's own analyser: slow and sometimes wrong, so it informs and does not judge.
$O/analyze/%.txt: %.c $O/keys/cflags $(HEADERS) | $(GEN_H)
	$(call say,ANALYZE,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(call path_flags,$*) -fanalyzer -MMD -MP -MF $O/analyze/$*.d -MT $@ -c -o /dev/null $< 2>$@
analyze: $(OWN_C:%.c=$O/analyze/%.txt)
	$(Q)cat $^; printf '%d findings\n' "$$(cat $^ | grep -c 'warning: .*\[-Wanalyzer')"

# ---------------------------------------------------------------------------------------------------- other tools

.PHONY: size coverage compdb repro
size: $(CORACLE)
	$(Q)scripts/size.sh $(CORACLE) $O/coracle.map $E/monitor $E/pause

coverage:
	$(Q)find $(BUILD)/coverage -name '*.gcda' -delete 2>/dev/null || true
	$(Q)$(MAKE) --no-print-directory VARIANT=coverage check
	$(Q)scripts/coverage.sh $(BUILD)/coverage/obj

compdb: $(HEADERS) $(GEN_H)
	$(Q)scripts/compdb.sh $(OWN_C) $(shell find tests -name '*.c' 2>/dev/null) -- clang $(LINT_CC) $(WARN) >build/compile_commands.json

repro: $(CORACLE)
	$(Q)scripts/repro.sh $(CORACLE)

# ------------------------------------------------------------------------------------------------------- install

PREFIX ?= /usr/local
.PHONY: install clean distclean help vendor
install: $(CORACLE)
	install -D -m 0755 $(CORACLE) $(DESTDIR)$(PREFIX)/bin/coracle
	$(Q)for page in $(wildcard docs/man/*.[1-8]); do \
		section=$${page##*.} && install -D -m 0644 $$page $(DESTDIR)$(PREFIX)/share/man/man$$section/$${page##*/}; done
	$(Q)for unit in $(wildcard dist/*.service dist/*.slice); do \
		mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system && \
		sed 's,@bindir@,$(PREFIX)/bin,g' $$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}; done
	$(Q)for conf in $(wildcard dist/*.conf); do \
		install -D -m 0644 $$conf $(DESTDIR)$(PREFIX)/share/doc/coracle/examples/$${conf##*/}; done

vendor: $(HEADERS) $(VENDOR_ALL) $(TOOLCHAIN)

# Ours goes; what was fetched and compiled from third parties stays (distclean: that too, but not vendor/cache).
clean:
	$(Q)rm -rf $(BUILD)/release $(BUILD)/asan $(BUILD)/tsan $(BUILD)/coverage $(BUILD)/fuzz $(BUILD)/elf $(BUILD)/coracle \
		$(BUILD)/coracle.debug build/gen build/log build/cppcheck
distclean:
	$(Q)rm -rf build

define HELP
make                    build/coracle: one static binary (and coracle.debug beside it)
make check              unit tests; T=core/net or T=core/net/test_cni for some of them
make check-core/net     the same as T=core/net
make asan, make tsan    unit tests under AddressSanitizer + UBSan, ThreadSanitizer
make check-crash        stop every scenario at every durable call, reload, check the invariants; MUTANT=NAME must fail
make check-integration  real runtimes, CNI, registry, plugins (root)
make fuzz-NAME          libFuzzer on tests/fuzz/fuzz_NAME.c; FUZZ_SECONDS=0 is without end
make fuzz-smoke         every target: its corpus, then 20 s (FUZZ_SECONDS)
make fuzz-replay        the corpora only, without libFuzzer
make lint               format, layers, globals, headers, cleanup, scripts, clang-tidy, cppcheck; lint-NAME for one
make analyze            gcc -fanalyzer (clang's own, deep: make lint-tidy TIDY_MODE=deep)
make format             clang-format all of our C
make bench, make size   speed; bytes by part
make coverage           line coverage of the unit tests, by folder
make compdb             build/compile_commands.json for editors
make repro              build again from scratch in another directory: same bytes?
make install            DESTDIR=, PREFIX=/usr/local
make vendor             third-party libraries only
make clean, distclean   our objects; all of build/

VARIANT=release|asan|tsan|coverage|fuzz   compiler and flags, for any target
BUILD=dir  V=1  T=folder                  output directory; show commands; which tests
endef
help:
	@$(info $(HELP)):

# Dependency files of everything that was compiled before.
-include $(shell find $O/obj $O/obj-gen $O/obj-mutant $O/analyze $E/obj -name '*.d' 2>/dev/null)
