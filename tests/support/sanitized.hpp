// SPDX-License-Identifier: Apache-2.0
#pragma once

/// FATHOM_TEST_SANITIZED is 1 under a sanitizer that has a malloc and an address space of its own, else 0.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FATHOM_TEST_SANITIZED 1
#elif defined(__has_feature)
#define FATHOM_TEST_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define FATHOM_TEST_SANITIZED 0
#endif

namespace fathom_test {
inline constexpr bool sanitized = FATHOM_TEST_SANITIZED;

/// The debug mode of the standard library: each step of a heap or a search looks at all elements.
#ifdef _GLIBCXX_DEBUG
inline constexpr bool containers_are_checked = true;
#else
inline constexpr bool containers_are_checked = false;
#endif
}  // namespace fathom_test
