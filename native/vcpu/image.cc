#include "vcpu/image.h"

#include <cstring>

namespace colo::vcpu {

namespace {

constexpr u32 kVcpuMagic = 0x31637663;  // "cvc1"
constexpr u32 kChipMagic = 0x31686363;  // "cch1"

/// Both directions visit the same fields in the same order, so that they cannot disagree.
template <class V>
void visit(V&& v, VcpuState& s) {
  u32 zero = 0;
  v(s.regs), v(s.sregs), v(s.debugregs), v(s.xsave), v(s.xcrs), v(s.events), v(s.mp_state), v(zero),
      v(s.lapic);
}
template <class V>
void visit(V&& v, ChipState& s) {
  v(s.pic_master), v(s.pic_slave), v(s.ioapic), v(s.pit), v(s.clock);
}

struct Writer {
  std::vector<u8>& out;
  template <class T>
  void operator()(const T& field) {
    const u8* p = reinterpret_cast<const u8*>(&field);
    out.insert(out.end(), p, p + sizeof field);
  }
};

struct Reader {
  const u8* at;
  template <class T>
  void operator()(T& field) {
    memcpy(&field, at, sizeof field);
    at += sizeof field;
  }
};

template <class State>
std::vector<u8> encode_header(u32 magic, u32 count, const State& state) {
  std::vector<u8> out;
  Writer w{out};
  w(magic), w(count);
  visit(w, const_cast<State&>(state));  // the writer only reads
  return out;
}

u32 word_at(std::span<const u8> bytes, size_t offset) {
  u32 v;
  memcpy(&v, bytes.data() + offset, sizeof v);
  return v;
}

std::string wrong_size(const char* what, size_t want, size_t have) {
  return std::string(what) + " state: " + std::to_string(want) + " bytes expected, " +
         std::to_string(have) + " found";
}

}  // namespace

std::vector<u8> encode(const VcpuState& state) {
  std::vector<u8> out = encode_header(kVcpuMagic, static_cast<u32>(state.msrs.size()), state);
  COLO_ASSERT(out.size() == kVcpuImageFixed && state.msrs.size() <= kMaxMsrs);
  Writer w{out};
  for (const kvm_msr_entry& m : state.msrs) w(m);
  return out;
}

std::vector<u8> encode(const ChipState& state) {
  std::vector<u8> out = encode_header(kChipMagic, 0, state);
  COLO_ASSERT(out.size() == kChipImageSize);
  return out;
}

std::string decode(std::span<const u8> bytes, VcpuState& out) {
  if (bytes.size() < kVcpuImageFixed) return wrong_size("vCPU", kVcpuImageFixed, bytes.size());
  if (word_at(bytes, 0) != kVcpuMagic) return "vCPU state: unknown format";
  size_t msrs = word_at(bytes, 4);
  if (msrs > kMaxMsrs) return "vCPU state: too many MSRs";
  size_t want = kVcpuImageFixed + msrs * sizeof(kvm_msr_entry);
  if (bytes.size() != want) return wrong_size("vCPU", want, bytes.size());
  Reader r{bytes.data() + 8};
  visit(r, out);
  out.msrs.resize(msrs);
  for (kvm_msr_entry& m : out.msrs) r(m);
  return "";
}

std::string decode(std::span<const u8> bytes, ChipState& out) {
  if (bytes.size() != kChipImageSize) return wrong_size("chip", kChipImageSize, bytes.size());
  if (word_at(bytes, 0) != kChipMagic) return "chip state: unknown format";
  Reader r{bytes.data() + 8};
  visit(r, out);
  return "";
}

}  // namespace colo::vcpu
