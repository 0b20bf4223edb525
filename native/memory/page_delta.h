// What changed in a page, as runs of words: the words that differ from its former content, XORed
// with that. A run is two bytes, words that are equal before it and words in it (at most 255 each),
// and then the words, 8 bytes each. Hot: a page costs one look at both contents.
#pragma once
#include "base/types.h"

namespace colo::memory {

/// Of two contents that differ the sums do, but for one case in 2^64. Not for secrets.
u64 page_sum(const u8* page);

bool page_is_zero(const u8* page);

/// A sample of it has about as many different bytes as noise has: to compress it would be in vain.
bool page_is_noise(const u8* page);

/// Runs that make `page` of `base`, into `out`: how many bytes, at least 2. 0: more than `most`.
size_t encode_delta(const u8* base, const u8* page, u8* out, size_t most);

/// `page` holds the former content and gets the new one. False: the runs are none, and the page is
/// spoiled.
bool apply_delta(const u8* runs, size_t length, u8* page);

}  // namespace colo::memory
