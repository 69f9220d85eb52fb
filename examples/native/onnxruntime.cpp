// A bundle on ONNX Runtime from C++: logits, probabilities and the answer for one raw picture.
//
//   g++ -std=c++17 onnxruntime.cpp -I"$ONNXRUNTIME/include" -L"$ONNXRUNTIME/lib" -lonnxruntime -o predict
//   ./predict NAME.zoo PICTURE
//
// ONNXRUNTIME is an unpacked release of ONNX Runtime for C and C++, or what a package manager installs. A picture is a
// PPM (P6, 8 bit) or a PGM (P5, 16 bit), without comments.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <onnxruntime_cxx_api.h>
#include <string>
#include <vector>

#include "decide.hpp"

struct Picture {
  std::int64_t height, width, channels;
  std::vector<std::uint8_t> bytes;
};

Picture read_picture(const std::string& path) {
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

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("usage: predict NAME.zoo PICTURE");
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // its packages report to their maker otherwise
  const std::string bundle = arguments[1];
  const Json manifest = read_manifest(bundle + "/manifest.json");
  const auto labels = read_labels(manifest);
  Picture picture = read_picture(arguments[2]);
  std::cerr << "ONNX Runtime " << Ort::GetVersionString() << " here, the file is proven from "
            << manifest["runtime"]["onnxruntime"].string << " on\n";
  Ort::Env environment;
  Ort::Session session(environment, (bundle + "/model.onnx").c_str(), Ort::SessionOptions{});
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::int64_t shape[] = {1, picture.height, picture.width, picture.channels};
  const auto image = Ort::Value::CreateTensor(
      memory, picture.bytes.data(), picture.bytes.size(), shape, 4,
      picture.channels == 1 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16 : ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
  const char* inputs[] = {"image"};
  const char* outputs[] = {"logits", "probabilities", "novelty"};
  const std::size_t asked = decides_by_novelty(manifest) ? 3 : 2;
  const auto answers = session.Run(Ort::RunOptions{}, inputs, &image, 1, outputs, asked);
  const float* logits = answers[0].GetTensorData<float>();
  const float* probabilities = answers[1].GetTensorData<float>();
  const float novelty = asked == 3 ? answers[2].GetTensorData<float>()[0] : 0;
  std::cout.precision(9);
  for (std::size_t index = 0; index < labels.size(); ++index)
    std::cout << logits[index] << '\t' << probabilities[index] << '\t' << labels[index] << '\n';
  std::cout << "answer\t" << describe(decide(probabilities, novelty, manifest), labels) << '\n';
} catch (const std::exception& problem) {
  std::cerr << problem.what() << '\n';
  return 1;
}
