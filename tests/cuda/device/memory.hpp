// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace emulated {

/// The memory of the device. The host may not touch it: pages have rights only while they are `open`, which is while
/// the device works. Blocks begin at multiples of 256 bytes, as cudaMalloc's do, stand between pages without rights,
/// and nothing ever comes to lie where a freed one lay. A fresh block is NaN for floats of every width, and -1 for
/// integers.
class Memory {
 public:
  static constexpr std::size_t alignment = 256;

  struct Block {
    std::byte* begin;
    std::size_t bytes;
    bool freed;
  };

  /// `poison`: fresh blocks are filled; else they are zero, and no page is touched that the program does not touch.
  Memory(std::size_t capacity, bool poison) : capacity_(capacity), poison_(poison) {}
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory();

  /// Null where there is no room.
  void* take(std::size_t bytes);
  /// False: there is no block that begins there, or none any more. `damaged` says whether the bytes beside the block,
  /// which no page guards, were written to.
  bool give_back(void* begin, bool& damaged);

  /// Whether all of these bytes are in one block.
  bool holds(const void* begin, std::size_t bytes) const;
  /// Whether the address is one of the device's, in a block or not.
  bool owns(const void* address) const;
  /// Where an address lies: "4 bytes behind the end of 256 bytes".
  std::string describe(const void* address) const;
  /// Whether bytes beside a block were written to. Only while open.
  bool damaged() const;

  bool is_open() const { return open_; }
  void open() { set_rights(true); }
  void close() { set_rights(false); }

  std::size_t capacity() const { return capacity_; }
  std::size_t used() const { return used_; }  ///< by blocks that live
  std::size_t peak() const { return peak_; }
  std::size_t blocks() const;  ///< that live

 private:
  struct Pages {
    std::byte* begin;
    std::size_t bytes;
  };

  std::byte* reserve(std::size_t bytes);
  static Pages pages_of(const Block& block);
  static bool damaged(const Block& block);
  void set_rights(bool open);

  std::size_t capacity_, used_ = 0, peak_ = 0;
  bool poison_, open_ = false;
  std::byte* next_ = nullptr;
  std::size_t left_ = 0;
  std::map<std::byte*, std::size_t> ranges_;  ///< reserved addresses
  std::map<const std::byte*, Block> all_;     ///< by their begin; freed ones too
};

}  // namespace emulated
