// A bundle on ONNX Runtime from C++: logits, probabilities and the answer for one raw picture.
//
//   g++ -std=c++17 onnxruntime.cpp -I"$ONNXRUNTIME/include" -L"$ONNXRUNTIME/lib" -lonnxruntime -o predict
//   ./predict NAME.zoo PICTURE
//
// ONNXRUNTIME is an unpacked release of ONNX Runtime for C and C++, or what a package manager installs. CMakeLists.txt
// builds it, too.
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <onnxruntime_cxx_api.h>
#include <string>

#include "zoo.hpp"

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("usage: predict NAME.zoo PICTURE");
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // its packages report to their maker otherwise
  const std::string bundle = arguments[1];
  const Json manifest = read_manifest(bundle + "/manifest.json");
  const auto labels = read_labels(manifest);
  Picture picture = read_picture(arguments[2]);
  check_range(picture, manifest);
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
