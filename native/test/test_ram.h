// The memory of a machine in a test, by guest-physical addresses.
#pragma once
#include <cstring>
#include <initializer_list>
#include <string>

#include "memory/ram.h"

namespace colo::test {

using Bytes = std::initializer_list<int>;

struct TestRam {
  explicit TestRam(u64 size) : ram(size) {}

  u8* at(u64 gpa, u64 n) { return ram.hva(gpa, n); }
  template <class T>
  void put(u64 gpa, T v) {
    memcpy(at(gpa, sizeof v), &v, sizeof v);
  }
  template <class T>
  T get(u64 gpa) {
    T v;
    memcpy(&v, at(gpa, sizeof v), sizeof v);
    return v;
  }
  /// Writes code the way a device would.
  void code(u64 gpa, const std::string& bytes) {
    memcpy(at(gpa, bytes.size()), bytes.data(), bytes.size());
    ram.mark_written(gpa, bytes.size());
  }
  void code(u64 gpa, Bytes bytes) {
    std::string text;
    for (int b : bytes) text += static_cast<char>(b);
    code(gpa, text);
  }

  memory::GuestRam ram;
};

}  // namespace colo::test
