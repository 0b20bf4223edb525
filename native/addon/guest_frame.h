// What a guest's frame may cost this host: the stack behind it opens a socket for each new flow,
// and keeps the fragments of a datagram until it is whole.
#pragma once
#include <span>

#include "base/types.h"

namespace colo::addon {

enum class FrameCost { kLittle, kMayOpenSocket, kFragment };

/// IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293) and UDP. A frame that is cut short, or no IP,
/// costs little: the stack drops it, or answers at once.
inline FrameCost cost_of(std::span<const u8> frame) {
  constexpr size_t kEthernet = 14;
  constexpr u8 kTcp = 6, kUdp = 17, kIcmp = 1, kSyn = 0x02, kAck = 0x10;
  if (frame.size() < kEthernet + 20) return FrameCost::kLittle;
  const u32 type = u32{frame[12]} << 8 | frame[13];
  const bool v4 = type == 0x0800, v6 = type == 0x86dd && frame.size() >= kEthernet + 40;
  if (!v4 && !v6) return FrameCost::kLittle;
  const u32 fragment = u32{frame[kEthernet + 6]} << 8 | frame[kEthernet + 7];
  if (v4 && (fragment & 0x3fff) != 0) return FrameCost::kFragment;
  const u8 protocol = frame[kEthernet + (v4 ? 9 : 6)];
  if (protocol == kUdp || (v4 && protocol == kIcmp)) return FrameCost::kMayOpenSocket;
  if (protocol != kTcp) return FrameCost::kLittle;
  const size_t flags = kEthernet + (v4 ? size_t{frame[kEthernet] & 0x0fu} * 4 : 40) + 13;
  const bool opens = flags < frame.size() && (frame[flags] & (kSyn | kAck)) == kSyn;
  return opens ? FrameCost::kMayOpenSocket : FrameCost::kLittle;
}

}  // namespace colo::addon
