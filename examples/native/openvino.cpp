// A portable bundle on OpenVINO from C++: logits, probabilities and the answer for one raw picture.
//
//   g++ -std=c++17 openvino.cpp -I"$OPENVINO/include" "$OPENVINO"/libs/libopenvino.so.* -o predict
//   ./predict NAME.zoo PICTURE
//
// The bundle must come from `zoo export --portable`: OpenVINO reads the Resize operator of the default file and
// ignores its antialias. CMakeLists.txt builds it, too.
#include <iostream>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

#include "zoo.hpp"

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("usage: predict NAME.zoo PICTURE");
  const std::string bundle = arguments[1];
  const Json manifest = read_manifest(bundle + "/manifest.json");
  const auto labels = read_labels(manifest);
  Picture picture = read_picture(arguments[2]);
  check_range(picture, manifest);
  ov::Core core;
  // Without the hint a CPU that has bfloat16 would compute in it.
  auto request = core.compile_model(bundle + "/model.onnx", "CPU", ov::hint::inference_precision(ov::element::f32))
                     .create_infer_request();
  const std::vector<std::int64_t> sides{1, picture.height, picture.width, picture.channels};
  request.set_tensor("image", ov::Tensor(picture.channels == 1 ? ov::element::u16 : ov::element::u8,
                                         ov::Shape(sides.begin(), sides.end()), picture.bytes.data()));
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
