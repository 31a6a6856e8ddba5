// Run an exported encoder on a cloud with ONNX Runtime's C++ interface and nothing else.
//
//   g++ -std=c++17 -O2 run.cpp -o run -lonnxruntime     (Debian: apt install libonnxruntime-dev)
//   ./run model.onnx cloud.npy            one cloud (N, 3) of float32, thinned and centred beforehand or not
//   ./run model.onnx cloud.npy --as-is    the cloud lies in the unit sphere already
//
// It prints the descriptor, a number per line. export.json says how a cloud is prepared: z up, centroid at 0, largest norm 1,
// farthest points from point 0 on, their nearest points minus the centre. A cloud of far more points than export.json's
// sizes.points should be thinned at random first: patches of a denser cloud are smaller than those of the training.

#if __has_include(<onnxruntime_cxx_api.h>)
#include <onnxruntime_cxx_api.h>
#elif __has_include(<onnxruntime/onnxruntime_cxx_api.h>)
#include <onnxruntime/onnxruntime_cxx_api.h>
#else
#include <onnxruntime/core/session/onnxruntime_cxx_api.h>
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

using Cloud = std::vector<std::array<float, 3>>;

// The points of a .npy file of shape (N, 3), float32, in C order.
Cloud read_npy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char head[8];
  if (!file.read(head, 8) || std::string(head + 1, 5) != "NUMPY") throw std::runtime_error(path + " is no .npy file");
  unsigned char bytes[4] = {0, 0, 0, 0};
  file.read(reinterpret_cast<char*>(bytes), head[6] == 1 ? 2 : 4);
  const std::size_t length = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<std::size_t>(bytes[3]) << 24;
  if (length > 65536) throw std::runtime_error(path + " has no header of a cloud");
  std::string text(length, ' ');
  file.read(text.data(), static_cast<std::streamsize>(length));
  const auto place = text.find("'shape': (");
  unsigned long long count = 0, width = 0;
  const bool sized = place != std::string::npos &&
                     std::sscanf(text.c_str() + place, "'shape': (%llu, %llu)", &count, &width) == 2;
  if (!file || !sized || width != 3 || text.find("'<f4'") == std::string::npos ||
      text.find("'fortran_order': False") == std::string::npos) {
    throw std::runtime_error(path + " must be (N, 3) float32: np.save(path, cloud.astype('float32'))");
  }
  Cloud cloud;
  std::array<float, 3> point;
  while (cloud.size() < count && file.read(reinterpret_cast<char*>(point.data()), sizeof point)) cloud.push_back(point);
  if (cloud.size() != count) throw std::runtime_error(path + " ends too early");
  return cloud;
}

// Centroid to 0, largest norm to 1.
void normalize(Cloud& cloud) {
  std::array<double, 3> sum = {0, 0, 0};
  for (const auto& point : cloud)
    for (int axis = 0; axis < 3; ++axis) sum[axis] += point[axis];
  float largest = 0;
  for (auto& point : cloud) {
    for (int axis = 0; axis < 3; ++axis) point[axis] -= static_cast<float>(sum[axis] / cloud.size());
    largest = std::max(largest, point[0] * point[0] + point[1] * point[1] + point[2] * point[2]);
  }
  const float radius = std::max(std::sqrt(largest), 1.2e-7f);
  for (auto& point : cloud)
    for (float& value : point) value /= radius;
}

float squared_distance(const std::array<float, 3>& a, const std::array<float, 3>& b) {
  const float x = a[0] - b[0], y = a[1] - b[1], z = a[2] - b[2];
  return x * x + y * y + z * z;
}

// Indices of farthest point sampling, from point 0; ties go to the lowest index.
std::vector<std::size_t> farthest_points(const Cloud& cloud, std::size_t count) {
  std::vector<std::size_t> chosen(1, 0);
  std::vector<float> distance(cloud.size(), std::numeric_limits<float>::infinity());
  while (chosen.size() < count) {
    const auto& last = cloud[chosen.back()];
    for (std::size_t i = 0; i < cloud.size(); ++i) distance[i] = std::min(distance[i], squared_distance(cloud[i], last));
    chosen.push_back(std::max_element(distance.begin(), distance.end()) - distance.begin());
  }
  return chosen;
}

int run(const std::string& model, const std::string& path, bool as_is) {
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "foundry-bench");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, model.c_str(), options);

  // "neighborhoods" (B, T, K, 3) tells how many groups of how many points the encoder was made for
  const auto shape = session.GetInputTypeInfo(1).GetTensorTypeAndShapeInfo().GetShape();
  if (shape.size() != 4) throw std::runtime_error(model + " is not an exported encoder: its second input is no (B, T, K, 3)");
  const auto groups = static_cast<std::size_t>(shape[1]), size = static_cast<std::size_t>(shape[2]);

  Cloud cloud = read_npy(path);
  if (cloud.size() < std::max(groups, size)) throw std::runtime_error(path + " has too few points");
  if (!as_is) normalize(cloud);

  std::vector<float> centers, neighborhoods;
  std::vector<std::size_t> order(cloud.size());
  std::vector<float> distance(cloud.size());
  for (const std::size_t center : farthest_points(cloud, groups)) {
    centers.insert(centers.end(), cloud[center].begin(), cloud[center].end());
    for (std::size_t i = 0; i < cloud.size(); ++i) distance[i] = squared_distance(cloud[i], cloud[center]);
    std::iota(order.begin(), order.end(), 0);
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(size - 1), order.end(),
                     [&](std::size_t a, std::size_t b) { return distance[a] < distance[b]; });
    for (std::size_t k = 0; k < size; ++k)
      for (int axis = 0; axis < 3; ++axis) neighborhoods.push_back(cloud[order[k]][axis] - cloud[center][axis]);
  }

  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::array<int64_t, 3> center_shape = {1, static_cast<int64_t>(groups), 3};
  const std::array<int64_t, 4> group_shape = {1, static_cast<int64_t>(groups), static_cast<int64_t>(size), 3};
  std::vector<Ort::Value> inputs;
  inputs.push_back(Ort::Value::CreateTensor<float>(memory, centers.data(), centers.size(), center_shape.data(), 3));
  inputs.push_back(
      Ort::Value::CreateTensor<float>(memory, neighborhoods.data(), neighborhoods.size(), group_shape.data(), 4));
  const char* input_names[] = {"centers", "neighborhoods"};
  const char* output_names[] = {"descriptor"};
  const auto outputs = session.Run(Ort::RunOptions{nullptr}, input_names, inputs.data(), 2, output_names, 1);

  const float* descriptor = outputs[0].GetTensorData<float>();
  const std::size_t width = outputs[0].GetTensorTypeAndShapeInfo().GetElementCount();
  for (std::size_t i = 0; i < width; ++i) std::printf("%.6f\n", descriptor[i]);
  return 0;
}

int main(int count, char** words) {
  const bool as_is = count == 4 && std::string(words[3]) == "--as-is";
  if (count != 3 && !as_is) {
    std::fprintf(stderr, "usage: %s model.onnx cloud.npy [--as-is]\n", words[0]);
    return 2;
  }
  try {
    return run(words[1], words[2], as_is);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
