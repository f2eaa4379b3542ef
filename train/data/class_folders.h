#pragma once
// Folders of classes: what imagefolder and audiofolder have in common. As for torchvision's ImageFolder, classes are the sorted folders and
// files are looked for at any depth below them; links are followed. Only names are looked at here.
#include <string>
#include <utility>
#include <vector>

#include "tessera/train/data/source.h"

namespace tessera::data {

/// What is looked for.
struct FileKind {
  const char* spec;                  ///< "imagefolder"
  const char* file;                  ///< "PNG or JPEG file"
  const char* read;                  ///< "PNG and JPEG"
  const char* samples;               ///< "images"
  std::vector<std::string> endings;  ///< in lower case: "png"
  /// Is it one by its name?
  bool is(const std::string& path) const;
};

const FileKind& picture_files();    ///< of imagefolder
const FileKind& recording_files();  ///< of audiofolder

/// What `kind` reads in a folder and at any depth below it, sorted, and how many other files there are. Links are followed. Throws Error on a
/// folder that cannot be read, and on links in a circle.
struct FilesBelow {
  std::vector<std::string> paths;
  size_t skipped = 0;
};
FilesBelow files_below(const FileKind& kind, const std::string& dir);

struct LabelledFile {
  std::string path;
  int label = 0;
};

struct ClassFolders {
  std::vector<std::string> classes;
  bool split = false;  ///< DIR has train/, and test/ or val/ or both; else all files are in `train`
  std::vector<LabelledFile> train, val, test;
  std::string note;     ///< of what is missing or not read, or empty
  std::string skipped;  ///< "3 of 10 files skipped: ...", or empty
};

/// Throws Error when there are fewer than two classes, a class without files, a test class that is not trained, links in a circle, or names
/// that cannot stand in a file.
ClassFolders find_classes(const FileKind& kind, const std::string& dir);

/// Which of the files of a folder without splits are for training, and which, every fifth of each class, for testing; in random order.
std::pair<Index, Index> four_fifths(const Index& labels, size_t classes, uint64_t seed);

/// The note of a folder whose splits were drawn, or that of `folders`; with what was skipped.
std::string note_of(const FileKind& kind, const std::string& dir, const ClassFolders& folders, size_t train,
                    size_t test);

}  // namespace tessera::data
