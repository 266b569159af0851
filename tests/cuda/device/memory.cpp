// SPDX-License-Identifier: Apache-2.0
#include "memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace emulated {

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t range = std::size_t{1} << 38;
constexpr auto fresh = std::byte{0xFF};

constexpr std::size_t up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Memory::~Memory() {
  for (const auto& [begin, bytes] : ranges_) ::munmap(begin, bytes);
}

std::byte* Memory::reserve(std::size_t bytes) {
  if (left_ < bytes) {
    left_ = std::max(range, bytes);
    void* const begin = ::mmap(nullptr, left_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (begin == MAP_FAILED) throw std::runtime_error("emulated device: no addresses are left");
    next_ = static_cast<std::byte*>(begin);
    ranges_.emplace(next_, left_);
  }
  std::byte* const begin = next_;
  next_ += bytes;
  left_ -= bytes;
  return begin;
}

// A block ends where its last page does, but for what the alignment asks.
Memory::Pages Memory::pages_of(const Block& block) {
  const auto address = reinterpret_cast<std::uintptr_t>(block.begin);
  const std::uintptr_t begin = address / page * page;
  return {block.begin - (address - begin), up(address + block.bytes, page) - begin};
}

void* Memory::take(std::size_t bytes) {
  if (bytes > capacity_ - used_) return nullptr;
  const std::size_t aligned = up(bytes, alignment), pages = up(aligned, page);
  std::byte* const first = reserve(page + pages + page) + page;
  const Block block{first + (pages - aligned), bytes, false};
  if (poison_) {
    ::mprotect(first, pages, PROT_READ | PROT_WRITE);
    std::memset(first, int(fresh), pages);
  }
  ::mprotect(first, pages, open_ ? PROT_READ | PROT_WRITE : PROT_NONE);
  all_.emplace(block.begin, block);
  used_ += bytes;
  peak_ = std::max(peak_, used_);
  return block.begin;
}

bool Memory::give_back(void* begin, bool& damaged_beside) {
  const auto found = all_.find(static_cast<std::byte*>(begin));
  if (found == all_.end() || found->second.freed) return false;
  Block& block = found->second;
  const Pages pages = pages_of(block);
  if (poison_) {
    ::mprotect(pages.begin, pages.bytes, PROT_READ);
    damaged_beside = damaged(block);
  }
  ::mprotect(pages.begin, pages.bytes, PROT_NONE);
  ::madvise(pages.begin, pages.bytes, MADV_DONTNEED);
  block.freed = true;
  used_ -= block.bytes;
  return true;
}

bool Memory::holds(const void* begin, std::size_t bytes) const {
  const auto* const first = static_cast<const std::byte*>(begin);
  auto found = all_.upper_bound(first);
  if (found == all_.begin()) return false;
  const Block& block = (--found)->second;
  return !block.freed && first >= block.begin && std::size_t(first - block.begin) <= block.bytes &&
         bytes <= block.bytes - std::size_t(first - block.begin);
}

bool Memory::owns(const void* address) const {
  const auto* const at = static_cast<const std::byte*>(address);
  return std::ranges::any_of(ranges_, [&](const auto& r) { return at >= r.first && at < r.first + r.second; });
}

std::string Memory::describe(const void* address) const {
  const auto* const at = static_cast<const std::byte*>(address);
  if (!owns(address)) return "no memory of the device";
  const auto next = all_.upper_bound(at);
  const auto of = [](const Block& block) {
    return std::string(block.freed ? " freed" : "") + " block of " + std::to_string(block.bytes) + " bytes";
  };
  if (next != all_.begin()) {
    const Block& block = std::prev(next)->second;
    const std::size_t offset = std::size_t(at - block.begin);
    if (offset < block.bytes) return "byte " + std::to_string(offset) + " of a" + of(block);
    if (next == all_.end() || next->second.begin - at > at - (block.begin + block.bytes))
      return std::to_string(offset - block.bytes) + " bytes behind the end of a" + of(block);
  }
  if (next == all_.end()) return "no block of the device";
  return std::to_string(next->second.begin - at) + " bytes before the begin of a" + of(next->second);
}

bool Memory::damaged(const Block& block) {
  const Pages pages = pages_of(block);
  const auto touched = [](std::byte value) { return value != fresh; };
  return std::any_of(pages.begin, block.begin, touched) ||
         std::any_of(block.begin + block.bytes, pages.begin + pages.bytes, touched);
}

bool Memory::damaged() const {
  return poison_ &&
         std::ranges::any_of(all_, [](const auto& entry) { return !entry.second.freed && damaged(entry.second); });
}

std::size_t Memory::blocks() const {
  return std::size_t(std::ranges::count_if(all_, [](const auto& entry) { return !entry.second.freed; }));
}

void Memory::set_rights(bool open) {
  if (open == open_) return;
  open_ = open;
  for (const auto& [begin, block] : all_) {
    if (block.freed) continue;
    const Pages pages = pages_of(block);
    ::mprotect(pages.begin, pages.bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

}  // namespace emulated
