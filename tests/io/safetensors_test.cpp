// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fathom/io/safetensors.hpp>
#include <limits>
#include <map>
#include <string>
#include <support/temporary_directory.hpp>
#include <vector>

namespace safetensors_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using safetensors::Dtype;
using safetensors::Shape;

/// A file of this header and data.
std::string file_of(const std::string& header, const std::string& data = {}) {
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + data;
}

template <class T>
std::string bytes_of(std::initializer_list<T> values) {
  return std::string(reinterpret_cast<const char*>(std::data(values)), values.size() * sizeof(T));
}

/// All that a file says, for comparison.
struct Content {
  std::map<std::string, std::tuple<std::string, Shape, std::string>> tensors;
  safetensors::Metadata metadata;
  bool operator==(const Content&) const = default;
};

Content read_all(const std::filesystem::path& path) {
  const safetensors::File file(path);
  Content content{{}, file.metadata()};
  for (const safetensors::Tensor& tensor : file.tensors()) {
    file.verify(tensor);
    content.tensors[tensor.name] = {
        tensor.dtype_name, tensor.shape,
        std::string(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size())};
  }
  return content;
}

const std::vector<float> weight{1, 2, 3, 4, 5, 6};
const std::vector<double> moment{0.1, 0.2, 0.3};
const std::vector<std::int64_t> steps{1'000'000'000'000};
const std::vector<std::uint8_t> flags{1, 0, 1};

void write_small(const std::filesystem::path& path) {
  safetensors::Writer writer;
  writer.set("format", "1");
  writer.set("note", "line\n\"quoted\" ü");
  writer.add<std::uint8_t>("flags", {3}, flags);
  writer.add<float>("blocks.0.weight", {2, 3}, weight);
  writer.add<double>("blocks.0.moment", {3}, moment);
  writer.add<std::int64_t>("steps", {}, steps);
  writer.add<float>("empty", {0, 4}, {});
  writer.write(path);
}

TEST_CASE("what is written is read back", "[safetensors]") {
  const TemporaryDirectory folder;
  write_small(folder / "small.safetensors");
  const safetensors::File file(folder / "small.safetensors");

  std::vector<std::string> names;
  for (const auto& tensor : file.tensors()) {
    names.push_back(tensor.name);
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % facts(*tensor.dtype).size == 0);
  }
  CHECK(names == std::vector<std::string>{"blocks.0.moment", "steps", "blocks.0.weight", "empty", "flags"});
  CHECK(file.metadata() == safetensors::Metadata{{"format", "1"}, {"note", "line\n\"quoted\" ü"}});

  std::vector<float> floats(6);
  file.read<float>("blocks.0.weight", Shape{2, 3}, floats);
  CHECK(floats == weight);
  std::vector<double> doubles(3);
  file.read<double>("blocks.0.moment", Shape{3}, doubles);
  CHECK(doubles == moment);
  std::int64_t step = 0;
  file.read<std::int64_t>("steps", {}, std::span(&step, 1));
  CHECK(step == steps[0]);
  file.read<float>("empty", Shape{0, 4}, {});
  CHECK(file.find("absent") == nullptr);
}

TEST_CASE("the layout is the one of the format", "[safetensors]") {
  const TemporaryDirectory folder;
  safetensors::Writer writer;
  const std::vector<float> values{1, -2};
  writer.add<float>("a", {2}, values);
  writer.write(folder / "a");
  const std::string bytes = read_file(folder / "a");

  std::uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
  CHECK(bytes.size() == 8 + length + 8);
  CHECK(bytes.substr(8 + length) == bytes_of({1.0f, -2.0f}));
  const std::string header = bytes.substr(8, length);
  CHECK_THAT(header, Catch::Matchers::StartsWith("{\"__metadata__\":{\"fathom.checksums\":\""));
  CHECK_THAT(header, ContainsSubstring("\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"));
  CHECK(header.find_last_not_of(' ') == header.rfind('}'));

  writer.write(folder / "b");
  CHECK(read_file(folder / "b") == bytes);
}

TEST_CASE("a tensor may come in pieces, and must come whole", "[safetensors]") {
  const TemporaryDirectory folder;
  safetensors::Writer writer;
  writer.add("x", Dtype::f32, {2, 3}, [](safetensors::Writer::Sink& sink) {
    for (const float& value : weight) sink.write(std::as_bytes(std::span(&value, 1)));
  });
  writer.write(folder / "x");
  std::vector<float> values(6);
  safetensors::File(folder / "x").read<float>("x", Shape{2, 3}, values);
  CHECK(values == weight);

  writer.add("y", Dtype::f32, {2},
             [](safetensors::Writer::Sink& sink) { sink.write(std::as_bytes(std::span(flags))); });
  CHECK_THAT(message_of<Error>([&] { writer.write(folder / "y"); }),
             ContainsSubstring("source of tensor 'y' gave 3 bytes, its shape [2] needs 8"));
}

TEST_CASE("the writer refuses what could not be read", "[safetensors]") {
  safetensors::Writer writer;
  writer.add<float>("a", {6}, weight);
  CHECK_THROWS_AS(writer.add<float>("a", {6}, weight), Error);
  CHECK_THROWS_AS(writer.add<float>("__metadata__", {6}, weight), Error);
  CHECK_THROWS_AS(writer.add<float>("b", {7}, weight), ShapeError);
  CHECK_THROWS_AS(writer.add<float>("b", {-1, -6}, weight), ShapeError);
  CHECK_THROWS_AS(writer.add("b", Dtype::f32, {INT64_MAX, 4}, {}), ShapeError);
  const TemporaryDirectory folder;
  writer.set("not UTF-8", "\xff");
  CHECK_THROWS_AS(writer.write(folder / "a"), Error);
  CHECK_THAT(message_of<FileError>([] { safetensors::Writer().write("/dev/full"); }),
             ContainsSubstring("/dev/full: cannot write: No space left on device; free some disk space"));
}

TEST_CASE("floating-point tensors are widened, and narrowed when asked", "[safetensors]") {
  const TemporaryDirectory folder;
  const auto path =
      folder.write("mixed", file_of(R"({"h":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},)"
                                    R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},)"
                                    R"("d":{"dtype":"F64","shape":[1],"data_offsets":[12,20]},)"
                                    R"("i":{"dtype":"I32","shape":[1],"data_offsets":[20,24]}})",
                                    bytes_of<std::uint16_t>({0x3C00, 0xC000, 0x0001, 0x7BFF, 0x3F80, 0xC049}) +
                                        bytes_of({0.1}) + bytes_of<std::int32_t>({-7})));
  const safetensors::File file(path);
  std::array<float, 4> half;
  file.read<float>("h", Shape{4}, half);
  CHECK(half == std::array<float, 4>{1, -2, 0x1p-24f, 65504});
  std::array<double, 2> brain;
  file.read<double>("b", Shape{2}, brain);
  CHECK(brain == std::array<double, 2>{1, -3.140625});
  std::array<float, 1> one;
  CHECK_THAT(message_of<FileError>([&] { file.read<float>("d", Shape{1}, one); }),
             ContainsSubstring("tensor 'd' is F64, which F32 cannot hold"));
  file.read<float>("d", Shape{1}, one, safetensors::Narrowing::round);
  CHECK(one[0] == 0.1f);
  CHECK_THROWS_AS(file.read<float>("i", Shape{1}, one), FileError);
  std::array<std::int32_t, 1> integer;
  file.read<std::int32_t>("i", Shape{1}, integer);
  CHECK(integer[0] == -7);
}

TEST_CASE("tensors of 16 bits are written and read as they stand, and rounded only when asked", "[safetensors]") {
  const TemporaryDirectory folder;
  const std::array brain{Bf16(1.5f), Bf16(-3.0f), Bf16::from_bits(0x7F80), Bf16::from_bits(1)};
  const std::array ieee{F16(0x1.ffcp0f), F16(-65504.0f)};
  const std::array tie{0x1.01p0f, 0x1.03p0f, 1e30f};      // halfway between two Bf16; too large for an F16
  const std::array beside{0x1.01p0 + 0x1p-40, -0x1p-200};  // above the tie, by less than a float shows
  safetensors::Writer writer;
  writer.add<Bf16>("brain", {2, 2}, brain);
  writer.add<F16>("ieee", {2}, ieee);
  writer.add<float>("float", {3}, tie);
  writer.add<double>("double", {2}, beside);
  writer.write(folder / "file");
  const safetensors::File file(folder / "file");
  CHECK((file.at("brain").dtype_name == "BF16" && file.at("ieee").dtype_name == "F16"));
  CHECK((file.at("brain").bytes.size() == 8 && file.at("ieee").bytes.size() == 4));

  std::array<Bf16, 4> b;
  file.read<Bf16>("brain", Shape{2, 2}, b);
  for (std::size_t i = 0; i < b.size(); ++i) CHECK(b[i].bits == brain[i].bits);
  std::array<F16, 2> h;
  file.read<F16>("ieee", Shape{2}, h);
  CHECK((h[0].bits == ieee[0].bits && h[1].bits == ieee[1].bits));
  std::array<float, 2> wide;
  file.read<float>("ieee", Shape{2}, wide);
  CHECK(wide == std::array{0x1.ffcp0f, -65504.0f});

  std::array<Bf16, 2> two;
  std::array<Bf16, 3> three;
  std::array<F16, 3> small;
  CHECK_THAT(message_of<FileError>([&] { file.read<Bf16>("ieee", Shape{2}, two); }),
             ContainsSubstring("tensor 'ieee' is F16, which BF16 cannot hold"));
  CHECK_THROWS_AS(file.read<Bf16>("float", Shape{3}, three), FileError);
  CHECK_THROWS_AS(file.read<F16>("float", Shape{3}, small), FileError);
  file.read<Bf16>("ieee", Shape{2}, two, safetensors::Narrowing::round);
  CHECK((two[0] == 2.0f && two[1] == -65536.0f));
  file.read<Bf16>("float", Shape{3}, three, safetensors::Narrowing::round);
  CHECK((three[0] == 1.0f && three[1] == 0x1.04p0f));
  file.read<F16>("float", Shape{3}, small, safetensors::Narrowing::round);
  CHECK((small[0] == 0x1.01p0f && small[2] == std::numeric_limits<float>::infinity()));
  file.read<Bf16>("double", Shape{2}, two, safetensors::Narrowing::round);
  CHECK((two[0] == 0x1.02p0f && two[1].bits == 0x8000));
}

TEST_CASE("asking for what the file does not hold names the tensor", "[safetensors]") {
  const TemporaryDirectory folder;
  write_small(folder / "small");
  const safetensors::File file(folder / "small");
  std::vector<float> values(6);
  CHECK_THAT(message_of<FileError>([&] {
               file.read<float>("blocks.0.weight", Shape{3, 2}, values);
             }),
             ContainsSubstring("small: tensor 'blocks.0.weight' has shape [2, 3] where [3, 2] is needed"));
  CHECK_THAT(message_of<FileError>([&] {
               file.read<float>("blocks.1.weight", Shape{2, 3}, values);
             }),
             ContainsSubstring("small: tensor 'blocks.1.weight' is missing"));
  values.resize(5);
  CHECK_THROWS_AS(file.read<float>("blocks.0.weight", Shape{2, 3}, values), ShapeError);
}

TEST_CASE("tensors of types that are not read are in nobody's way", "[safetensors]") {
  const TemporaryDirectory folder;
  const auto path = folder.write("mixed", file_of(R"({"a":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]},)"
                                                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},)"
                                                  R"("c":{"dtype":"F4","shape":[2,3],"data_offsets":[8,11]}})",
                                                  "1234" + bytes_of({1.5f}) + "abc"));
  const safetensors::File file(path);
  std::vector<float> values(1);
  file.read<float>("b", Shape{1}, values);
  CHECK(values[0] == 1.5f);
  CHECK(file.at("a").elements() == 4);
  CHECK(file.at("c").elements() == 6);
  CHECK(!file.at("c").dtype);
  values.resize(4);
  CHECK_THAT(
      message_of<FileError>([&] {
        file.read<float>("a", Shape{2, 2}, values);
      }),
      ContainsSubstring("mixed: tensor 'a' is 'F8_E4M3', a type that is not read; convert it to one of F64, F32"));
  values.resize(6);
  CHECK_THROWS_AS(file.read<float>("c", Shape{2, 3}, values), FileError);
}

TEST_CASE("malformed files are refused in one line that says why", "[safetensors]") {
  const std::string a4 = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const auto with = [](const std::string& description) { return file_of("{\"a\":" + description + "}", "1234"); };
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "is empty"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 433869\n", "is a pointer of git-lfs"},
      {"<!DOCTYPE html>\n<html></html>\n", "is a web page"},
      {std::string("PK\3\4\0\0\0\0", 8) + "data.pkl", "is a zip archive"},
      {"1234567", "has 7 bytes"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "exceeds the format's limit"},
      {std::string("\x09\0\0\0\0\0\0\0{}", 10), "header of 9 bytes is cut off at 2"},
      {std::string("\x80\2\0\0\0\0\0\0{}", 10), "header of 640 bytes is cut off at 2"},  // begins as a pickle does
      {file_of(""), "does not start with '{'"},
      {file_of(" {}"), "does not start with '{'"},
      {file_of("{"), "not valid JSON"},
      {file_of("{} x"), "not valid JSON"},
      {file_of(std::string("{}\0x", 4)), "has a zero byte"},
      {file_of("{\"\xff\":1}"), "not valid JSON"},
      {file_of("{" + a4 + "," + a4 + "}", "1234"), "'a' twice"},
      {file_of("{\"a\":" + std::string(100'000, '[') + "}"), "nested too deeply"},
      {file_of("{\"a\":{\"shape\":[[1]]}}"), "nested too deeply"},
      {file_of("{\"__metadata__\":[]}"), "'__metadata__' is not an object"},
      {file_of("{\"__metadata__\":{\"k\":1}}"), "metadata 'k' is not a text"},
      {file_of("{\"__metadata__\":{\"fathom.checksums\":\"12\"}}"), "checksums that do not fit"},
      {with("7"), "tensor 'a' is not described by an object"},
      {with(R"({"shape":[1],"data_offsets":[0,4]})"), "has no field 'dtype'"},
      {with(R"({"dtype":"F32","data_offsets":[0,4]})"), "has no field 'shape'"},
      {with(R"({"dtype":"F32","shape":[1]})"), "has no field 'data_offsets'"},
      {with(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0})"), "unknown field 'x'"},
      {with(R"({"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})"), "'dtype' twice"},
      {with(R"({"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,4]})"), "do not fit shape [3] of 'F8_E4M3'"},
      {with(R"({"dtype":"I16","shape":[4],"data_offsets":[0,4]})"), "do not fit shape [4] of 'I16'"},
      {with(R"({"dtype":"F33","shape":[4611686018427387904,4],"data_offsets":[0,4]})"), "do not fit shape"},
      {with(R"({"dtype":"F33","shape":[1],"data_offsets":[0,5]})"), "ends at byte 5"},
      {with(R"({"dtype":32,"shape":[1],"data_offsets":[0,4]})"), "'dtype' that is not a text"},
      {with(R"({"dtype":"F32","shape":1,"data_offsets":[0,4]})"), "'shape' that is not an array"},
      {with(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), "not a whole number"},
      {with(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"), "not a whole number"},
      {with(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]})"), "not a whole number"},
      {with(R"({"dtype":"F32","shape":[1e999],"data_offsets":[0,4]})"), "out of range"},
      {with(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]})"), "do not fit shape"},
      {with(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), "[0, 4] that do not fit shape [2] of 'F32'"},
      {with(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), "no valid 'data_offsets'"},
      {with(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,8]})"), "no valid 'data_offsets'"},
      {with(R"({"dtype":"U8","shape":[3],"data_offsets":[1,4]})"), "starts at byte 1 where"},
      {with(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"),
       "ends at byte 8 of the data, which is cut off at 4"},
      {with(R"({"dtype":"U8","shape":[3],"data_offsets":[0,3]})"), "1 bytes after the last tensor"},
      {file_of("{" + a4 + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", "12345"), "tensor 'b' starts"},
      {file_of("{" + a4 + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})", "1234567"), "tensor 'b' starts"},
      {file_of("{\"a\\n\\u001b\":1}"), "tensor 'a\?\?' is not"},
  };
  const TemporaryDirectory folder;
  for (const auto& [content, expected] : cases) {
    CAPTURE(content.substr(0, 200));
    const auto path = folder.write("case.safetensors", content);
    const std::string message = message_of<FileError>([&] { safetensors::File file(path); });
    CHECK_THAT(message, Catch::Matchers::StartsWith(path.string() + ": ") && ContainsSubstring(expected) &&
                            ContainsSubstring("; "));
    CHECK(message.find('\n') == std::string::npos);
  }
  CHECK_THAT(message_of<FileError>([&] { safetensors::File file(folder / "absent"); }),
             ContainsSubstring("absent: cannot open: No such file or directory; check the path"));
  CHECK_THAT(message_of<FileError>([&] { safetensors::File file(folder.path()); }),
             ContainsSubstring("not a regular file"));
}

TEST_CASE("files of other writers are read: any order, spaces, no checksums", "[safetensors]") {
  const TemporaryDirectory folder;
  const auto path = folder.write("other", file_of(R"({ "b" : {"shape":[2],"data_offsets":[1,3],"dtype":"U8"},)"
                                                  R"("a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},)"
                                                  R"("none":{"dtype":"F32","shape":[0],"data_offsets":[1,1]}}   )",
                                                  "xyz"));
  const Content content = read_all(path);
  CHECK(content.tensors.size() == 3);
  CHECK(std::get<2>(content.tensors.at("b")) == "yz");
  CHECK(read_all(folder.write("empty", file_of("{}"))) == Content{});
}

TEST_CASE("every truncation is refused", "[safetensors]") {
  const TemporaryDirectory folder;
  write_small(folder / "small");
  const std::string bytes = read_file(folder / "small");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto path = folder.write("cut", std::string_view(bytes).substr(0, size));
    REQUIRE_THROWS_AS(read_all(path), FileError);
  }
  CHECK(safetensors::File(folder / "small").has_checksums());
  REQUIRE_THROWS_AS(read_all(folder.write("longer", bytes + '\0')), FileError);
}

TEST_CASE("every damaged byte is seen, but for those that hide the checksums", "[safetensors]") {
  const TemporaryDirectory folder;
  write_small(folder / "small");
  const std::string bytes = read_file(folder / "small");
  const Content content = read_all(folder / "small");
  for (std::size_t place = 0; place < bytes.size(); ++place) {
    for (const int flip : {0x01, 0x20, 0xFF}) {
      std::string damaged = bytes;
      damaged[place] = static_cast<char>(damaged[place] ^ flip);
      const auto path = folder.write("damaged", damaged);
      CAPTURE(place, flip, damaged.substr(8, place));
      try {
        Content read = read_all(path);
        // Without its name the entry of the checksums is one metadata text among others.
        REQUIRE(!safetensors::File(path).has_checksums());
        std::erase_if(read.metadata, [&](const auto& item) { return !content.metadata.contains(item.first); });
        REQUIRE(read == content);
      } catch (const FileError&) {
      }
    }
  }
}

}  // namespace safetensors_test
