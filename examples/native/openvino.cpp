// A portable bundle on OpenVINO from C++: the logits and probabilities of one raw picture.
//
//   g++ -std=c++17 openvino.cpp -I"$OPENVINO/include" "$OPENVINO"/libs/libopenvino.so.* -o predict
//   ./predict NAME.zoo PICTURE
//
// The bundle must come from `zoo export --portable`: OpenVINO reads the Resize operator of the default file and
// ignores its antialias. A picture is a PPM (P6, 8 bit) or a PGM (P5, 16 bit), without comments.
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <openvino/openvino.hpp>
#include <regex>
#include <string>
#include <vector>

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

// The manifest's labels; enough for an example, a product takes a JSON library.
std::vector<std::string> read_labels(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::regex quoted(R"re("((?:[^"\\]|\\.)*)"\s*([,\]]))re");
  std::vector<std::string> labels;
  auto at = text.begin() + text.find('[', text.find("\"labels\""));
  for (std::smatch found; std::regex_search(at, text.end(), found, quoted); at = found[0].second) {
    labels.push_back(found[1]);
    if (found[2] == "]") break;
  }
  return labels;
}

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("usage: predict NAME.zoo PICTURE");
  const std::string bundle = arguments[1];
  const auto labels = read_labels(bundle + "/manifest.json");
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
  std::cout.precision(9);
  for (std::size_t index = 0; index < labels.size(); ++index)
    std::cout << logits[index] << '\t' << probabilities[index] << '\t' << labels[index] << '\n';
} catch (const std::exception& problem) {
  std::cerr << problem.what() << '\n';
  return 1;
}
