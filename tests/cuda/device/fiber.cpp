// SPDX-License-Identifier: Apache-2.0
#include "fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATED_ASAN 1
#elif defined(__has_feature)
#define EMULATED_ASAN __has_feature(address_sanitizer)
#else
#define EMULATED_ASAN 0
#endif
#if EMULATED_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// emulated_switch(from, to): stores what the caller of a function may count on to the stack, the stack pointer to
// *from, and takes the same from the stack at `to`. emulated_start is where a fresh fiber comes out: it calls what the
// first of the registers points to with the second.
extern "C" {
void emulated_switch(void** from, void* to);
void emulated_start();
}

#if defined(__x86_64__)
namespace {
constexpr std::size_t frame_words = 7;  // r15 r14 r13 r12 rbx rbp, return address
constexpr std::size_t body_word = 3, argument_word = 4, return_word = 6;
}  // namespace
asm(R"(
.text
.globl emulated_switch
.type emulated_switch, @function
emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulated_switch, .-emulated_switch
.globl emulated_start
.type emulated_start, @function
emulated_start:
  .cfi_startproc
  .cfi_undefined rip
  movq %rbx, %rdi
  call *%r12
  ud2
  .cfi_endproc
.size emulated_start, .-emulated_start
)");
#elif defined(__aarch64__)
namespace {
constexpr std::size_t frame_words = 20;  // x19 to x30, d8 to d15
constexpr std::size_t body_word = 0, argument_word = 1, return_word = 11;
}  // namespace
asm(R"(
.text
.globl emulated_switch
.type emulated_switch, %function
emulated_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size emulated_switch, .-emulated_switch
.globl emulated_start
.type emulated_start, %function
emulated_start:
  .cfi_startproc
  .cfi_undefined x30
  mov x0, x20
  blr x19
  brk #1
  .cfi_endproc
.size emulated_start, .-emulated_start
)");
#else
#error \
    "fathom: the emulated device runs on x86-64 and arm64; leave out its tests (FATHOM_TESTS=OFF), or write emulated_switch"
#endif

namespace emulated {

namespace {

constexpr std::size_t page = 4096;

}  // namespace

Fiber::Fiber() {
  void* const memory =
      ::mmap(nullptr, page + stack_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<std::byte*>(memory);
  if (::mprotect(memory_ + page, stack_bytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
}

Fiber::~Fiber() { ::munmap(memory_, page + stack_bytes); }

void Fiber::begin(void (*body)(void*), void* argument) {
  body_ = body;
  argument_ = argument;
  own_fake_ = nullptr;
#if EMULATED_ASAN
  __asan_unpoison_memory_region(memory_ + page, stack_bytes);  // of a call that was given up
#endif
  auto* const top = reinterpret_cast<std::uintptr_t*>(memory_ + page + stack_bytes);
  auto* const frame = top - 4 - frame_words;  // so that the stack is aligned to 16 bytes where the body is called
  for (std::size_t i = 0; i < frame_words; ++i) frame[i] = 0;
  frame[body_word] = reinterpret_cast<std::uintptr_t>(&Fiber::enter);
  frame[argument_word] = reinterpret_cast<std::uintptr_t>(this);
  frame[return_word] = reinterpret_cast<std::uintptr_t>(&emulated_start);
  own_ = frame;
}

void Fiber::enter(Fiber* fiber) {
#if EMULATED_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &fiber->caller_stack_, &fiber->caller_size_);
#endif
  fiber->body_(fiber->argument_);
  fiber->stop();
}

void Fiber::resume() {
#if EMULATED_ASAN
  __sanitizer_start_switch_fiber(&caller_fake_, memory_ + page, stack_bytes);
#endif
  emulated_switch(&caller_, own_);
#if EMULATED_ASAN
  __sanitizer_finish_switch_fiber(caller_fake_, nullptr, nullptr);
#endif
}

void Fiber::stop() {
#if EMULATED_ASAN
  __sanitizer_start_switch_fiber(&own_fake_, caller_stack_, caller_size_);
#endif
  emulated_switch(&own_, caller_);
#if EMULATED_ASAN
  __sanitizer_finish_switch_fiber(own_fake_, &caller_stack_, &caller_size_);
#endif
}

}  // namespace emulated
