// What a client of a bundle needs beside its runtime: the manifest, a raw picture, and the decision.
//
// Header only, C++17, no other library; CMakeLists.txt makes it the target zoo::zoo. A picture is a PPM (P6, 8 bit) or a
// PGM (P5, 16 bit), without comments; from a decoder of your own fill a Picture yourself.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "decide.hpp"

struct Picture {
  std::int64_t height, width, channels;  // one channel is uint16, three are uint8 RGB
  std::vector<std::uint8_t> bytes;       // rows from above, pixels from the left, in the byte order of this machine
};

inline Picture read_picture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  std::int64_t width = 0, height = 0, brightest = 0;
  file >> kind >> width >> height >> brightest;
  file.get();
  const bool deep = kind == "P5" && brightest > 255;
  if (!file || !(deep || (kind == "P6" && brightest == 255)))
    throw std::runtime_error(path + ": expected a PPM of 8 bits or a PGM of 16");
  Picture picture{height, width, deep ? 1 : 3, std::vector<std::uint8_t>(height * width * (deep ? 2 : 3))};
  if (!file.read(reinterpret_cast<char*>(picture.bytes.data()), picture.bytes.size()))
    throw std::runtime_error(path + ": cut short");
  for (std::size_t at = 0; deep && at < picture.bytes.size(); at += 2)  // a PGM is big-endian
    std::swap(picture.bytes[at], picture.bytes[at + 1]);
  return picture;
}

// Throws where a value is above the range that a network was trained on, as `zoo predict` refuses it. Pictures of your
// own in float32 may hold neither values below 0 then nor values that are not finite.
inline void check_range(const Picture& picture, const Json& manifest) {
  std::vector<const Json*> specs{&manifest["preprocess"]};
  for (const Json& member : manifest["members"].items) specs.push_back(&member["preprocess"]);
  for (std::size_t at = 0; picture.channels == 1 && at < picture.bytes.size(); at += 2) {
    std::uint16_t value = 0;
    std::memcpy(&value, &picture.bytes[at], sizeof value);
    for (const Json* spec : specs) {
      const Json& intensity = (*spec)["intensity"];
      if (intensity["type"].string == "scale" && value > intensity["maximum"].value)
        throw std::runtime_error("a pixel has the value " + std::to_string(value) + ", expected 0 to " +
                                 std::to_string(static_cast<long>(intensity["maximum"].value)) +
                                 "; give pictures of the range it was trained on");
    }
  }
}
