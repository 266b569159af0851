// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <type_traits>

/// What a kernel is: a struct of its arguments, whose body is a template over the thread that runs it. So nvcc compiles
/// it for a device, and any compiler for the host, where tests run it thread by thread.
///
///   struct Transpose {
///     static constexpr const char* name = "transpose";
///     static constexpr int threads = 256;              // of a block
///     struct Shared { float tile[32][33]; };           // what a block's threads share; it starts undefined
///     const float* x;
///     float* y;
///     template <class Thread>
///     constexpr void operator()(Thread& thread) const { … }
///   };
///
/// What is a static constexpr member must not be bound to a reference in a kernel, as std::min(limit, x) does: it is
/// not there on a device, and nvcc drops the code that reads it without a word. `int(limit)` is a value. So budget.txt
/// has the fewest registers, too, that a kernel can do with.
///
/// `constexpr` takes the place of __host__ __device__ (nvcc's --expt-relaxed-constexpr); nothing is evaluated by a
/// compiler. A kernel without `Shared` does not cooperate: its threads know nothing of each other. One that wants
/// barriers or shuffles and shares no memory has an empty `Shared`. A thread has
///
///   index() block() blocks()    its index in its block, the block's, and how many blocks there are
///   load(p) store(p, value)     memory of the device; an address is aligned for its type
///   shared()                    the block's `Shared&`
///   barrier()                   waits for all threads of the block; all come to the same barrier
///   lane() warp()               its index in its warp of 32 threads, and the warp's in the block
///   warp_barrier()              waits for the 32 lanes of the warp, which then see what each has shared
///   shuffle(value, lane)        the value that another lane of the warp brings; all 32 come to the same shuffle
///   shuffle_xor(value, mask)    that of lane() ^ mask
///   multiply_add(c, a, b)       c += a b, 16×8 += 16×16 · 16×8, by the whole warp, see `MatrixStep`
namespace fathom::inline FATHOM_ABI::cuda {

inline constexpr int warp_size = 32;

/// Whether the threads of a kernel's blocks cooperate.
template <class K>
inline constexpr bool cooperates = requires { typename K::Shared; };

/// Bytes that the threads of a block share.
template <class K>
constexpr std::size_t shared_bytes() {
  if constexpr (cooperates<K>)
    return std::is_empty_v<typename K::Shared> ? 0 : sizeof(typename K::Shared);
  else
    return 0;
}

template <class K>
concept Kernel = std::is_trivially_copyable_v<K> && requires {
  { K::name } -> std::convertible_to<const char*>;
  { K::threads } -> std::convertible_to<int>;
};

/// The limits of a kernel; the template argument is the message.
template <Kernel K>
struct CheckKernel {
  static_assert(K::threads > 0 && K::threads <= 1024,
                "fathom: a block has 1 to 1024 threads: CheckKernel<K> names the kernel");
  static_assert(!cooperates<K> || K::threads % warp_size == 0,
                "fathom: threads that cooperate come in whole warps of 32: CheckKernel<K> names the kernel");
  static_assert(sizeof(K) <= 4096,
                "fathom: a kernel's arguments have at most 4096 bytes: CheckKernel<K> names the kernel");
  static_assert(shared_bytes<K>() <= std::size_t{227} << 10,
                "fathom: a block shares at most 227 KiB: CheckKernel<K> names the kernel");
  static constexpr bool value = true;
};

/// The fragments that each lane holds of the matrices of `multiply_add`, as PTX defines them for mma.m16n8k16 of 16-bit
/// floats: which row and column element `i` of lane `lane`'s is.
struct MatrixStep {
  static constexpr int rows = 16, columns = 8, inner = 16;
  static constexpr int a_elements = 8, b_elements = 4, c_elements = 4;  ///< of a lane

  static constexpr int a_row(int lane, int i) { return lane / 4 + (i / 2 % 2) * 8; }
  static constexpr int a_column(int lane, int i) { return lane % 4 * 2 + i % 2 + i / 4 * 8; }
  static constexpr int b_row(int lane, int i) { return lane % 4 * 2 + i % 2 + i / 2 * 8; }
  static constexpr int b_column(int lane, int) { return lane / 4; }
  static constexpr int c_row(int lane, int i) { return lane / 4 + i / 2 * 8; }
  static constexpr int c_column(int lane, int i) { return lane % 4 * 2 + i % 2; }
};

}  // namespace fathom::inline FATHOM_ABI::cuda
