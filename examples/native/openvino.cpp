// A portable bundle on OpenVINO from C++: logits, probabilities and the answer for one raw picture.
//
//   g++ -std=c++17 openvino.cpp -I"$OPENVINO/include" "$OPENVINO"/libs/libopenvino.so.* -o predict
//   ./predict NAME.zoo PICTURE
//
// The bundle must come from `zoo export --portable`: OpenVINO reads the Resize operator of the default file and
// ignores its antialias. A picture is a PPM (P6, 8 bit) or a PGM (P5, 16 bit), without comments.
#include <cstdint>
#include <fstream>
#include <iostream>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

#include "decide.hpp"

struct Picture {
  std::size_t height, width, channels;
  std::vector<std::uint8_t> bytes;
};

Picture read_picture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  std::size_t width = 0, height = 0, brightest = 0;
  file >> kind >> width >> height >> brightest;
  file.get();
  const bool deep = kind == "P5" && brightest > 255;
  if (!file || !(deep || (kind == "P6" && brightest == 255)))
    throw std::runtime_error(path + ": expected a PPM of 8 bits or a PGM of 16");
  Picture picture{height, width, deep ? 1u : 3u, std::vector<std::uint8_t>(height * width * (deep ? 2 : 3))};
  if (!file.read(reinterpret_cast<char*>(picture.bytes.data()), picture.bytes.size()))
    throw std::runtime_error(path + ": cut short");
  for (std::size_t at = 0; deep && at < picture.bytes.size(); at += 2)  // a PGM is big-endian
    std::swap(picture.bytes[at], picture.bytes[at + 1]);
  return picture;
}

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("usage: predict NAME.zoo PICTURE");
  const std::string bundle = arguments[1];
  const Json manifest = read_manifest(bundle + "/manifest.json");
  const auto labels = read_labels(manifest);
  Picture picture = read_picture(arguments[2]);
  ov::Core core;
  // Without the hint a CPU that has bfloat16 would compute in it.
  auto request = core.compile_model(bundle + "/model.onnx", "CPU", ov::hint::inference_precision(ov::element::f32))
                     .create_infer_request();
  request.set_tensor("image", ov::Tensor(picture.channels == 1 ? ov::element::u16 : ov::element::u8,
                                         {1, picture.height, picture.width, picture.channels}, picture.bytes.data()));
  request.infer();
  const float* logits = request.get_tensor("logits").data<float>();
  const float* probabilities = request.get_tensor("probabilities").data<float>();
  const float novelty = decides_by_novelty(manifest) ? request.get_tensor("novelty").data<float>()[0] : 0;
  std::cout.precision(9);
  for (std::size_t index = 0; index < labels.size(); ++index)
    std::cout << logits[index] << '\t' << probabilities[index] << '\t' << labels[index] << '\n';
  std::cout << "answer\t" << describe(decide(probabilities, novelty, manifest), labels) << '\n';
} catch (const std::exception& problem) {
  std::cerr << problem.what() << '\n';
  return 1;
}
