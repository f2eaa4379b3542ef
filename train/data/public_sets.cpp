#include "tessera/train/data/public_sets.h"

#include "tessera/train/data/readers.h"

namespace tessera::data {
namespace {

std::vector<std::string> digits() { return {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}; }
std::vector<std::string> clothes() {
  return {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"};
}

// The files in the order train images, train labels, test images, test labels.
std::vector<Remote> idx(const char* const (&md5)[4], const int64_t (&bytes)[4]) {
  return {{"train-images-idx3-ubyte.gz", md5[0], bytes[0]},
          {"train-labels-idx1-ubyte.gz", md5[1], bytes[1]},
          {"t10k-images-idx3-ubyte.gz", md5[2], bytes[2]},
          {"t10k-labels-idx1-ubyte.gz", md5[3], bytes[3]}};
}

// Checksums. CIFAR archives: the column "md5sum" of the publisher's page, www.cs.toronto.edu/~kriz/cifar.html, rows
// "binary version" (MD5 is all it gives). Fashion-MNIST: the table of its README,
// github.com/zalandoresearch/fashion-mnist. MNIST: its publisher gave none; these are what torchvision verifies in
// datasets/mnist.py.
constexpr const char* mnist_md5[4] = {"f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
                                      "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"};
constexpr const char* fashion_md5[4] = {"8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                                        "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"};
// Sizes, so that a stream without end is known for one; the checksum decides.
constexpr int64_t mnist_bytes[4] = {9'912'422, 28'881, 1'648'877, 4'542};
constexpr int64_t fashion_bytes[4] = {26'421'880, 29'515, 4'422'102, 5'148};

TrainTest read_digits(const std::string& folder) {
  TrainTest data = read_mnist(folder, "mnist", digits(), mnist_md5);
  refuse(data, {Augmentation::flip}, "a mirrored digit is another sign or none");
  return data;
}
TrainTest read_clothes(const std::string& folder) {
  return read_mnist(folder, "fashion-mnist", clothes(), fashion_md5);
}

}  // namespace

const std::vector<PublicSet>& public_sets() {
  static const std::vector<PublicSet> all = {
      {"cifar10",
       "cifar-10-batches-bin",
       "data_batch_1.bin",
       "https://www.cs.toronto.edu/~kriz/",
       {{"cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 170'052'171}},
       true,
       read_cifar10,
       read_part_of_cifar10},
      {"cifar100",
       "cifar-100-binary",
       "train.bin",
       "https://www.cs.toronto.edu/~kriz/",
       {{"cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", 168'513'733}},
       true,
       read_cifar100,
       read_part_of_cifar100},
      {"mnist", "mnist", "train-images-idx3-ubyte", "https://ossci-datasets.s3.amazonaws.com/mnist/",
       idx(mnist_md5, mnist_bytes), false, read_digits},
      {"fashion-mnist", "fashion-mnist", "train-images-idx3-ubyte",
       "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", idx(fashion_md5, fashion_bytes), false,
       read_clothes},
  };
  return all;
}

}  // namespace tessera::data
