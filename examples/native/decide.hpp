// What a model's numbers decide, as zoo/edge/_decide.py decides, number for number: for both C++ samples.
//
// All numbers are compared as double: a float of the graph widened, a threshold as std::strtod reads its decimals. Do not
// compile it with -ffast-math. The manifest is read by a few lines of JSON; a product takes a JSON library.
#pragma once
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

struct Json {
  enum Kind { null, truth, number, text, list, object } kind = null;
  double value = 0;  // of a truth 0 or 1
  std::string string;
  std::vector<Json> items;
  std::map<std::string, Json> fields;
  const Json& operator[](const std::string& name) const {
    static const Json nothing;
    const auto found = fields.find(name);
    return found == fields.end() ? nothing : found->second;
  }
};

class JsonReader {
 public:
  explicit JsonReader(const std::string& text) : at(text.c_str()) {}
  Json read() {
    Json found;
    const char first = next();
    if (first == '{' || first == '[') {
      found.kind = first == '{' ? Json::object : Json::list;
      const char end = first == '{' ? '}' : ']';
      for (++at; next() != end; at += *at == ',') {
        std::string name;
        if (first == '{') {
          name = read_text();
          if (next() != ':') fail();
          ++at;
        }
        Json item = read();
        if (next() != ',' && *at != end) fail();
        first == '{' ? void(found.fields[name] = std::move(item)) : found.items.push_back(std::move(item));
      }
      ++at;
    } else if (first == '"') {
      found.kind = Json::text;
      found.string = read_text();
    } else if (std::isalpha(static_cast<unsigned char>(first))) {
      found.kind = first == 'n' ? Json::null : Json::truth;
      found.value = first == 't';
      while (std::isalpha(static_cast<unsigned char>(*at))) ++at;
    } else {
      char* end = nullptr;
      found.kind = Json::number;
      found.value = std::strtod(at, &end);
      if (end == at) fail();
      at = end;
    }
    return found;
  }

 private:
  const char* at;
  [[noreturn]] static void fail() { throw std::runtime_error("manifest.json is not JSON"); }
  char next() {
    while (*at && std::isspace(static_cast<unsigned char>(*at))) ++at;
    return *at ? *at : (fail(), '\0');
  }
  std::string read_text() {  // the manifest is UTF-8; \u stands there for control characters alone
    if (next() != '"') fail();
    std::string found;
    for (++at; *at != '"'; ++at) {
      if (!*at) fail();
      if (*at != '\\') {
        found += *at;
        continue;
      }
      const std::string escapes = "bfnrt", meant = "\b\f\n\r\t";
      const auto place = escapes.find(*++at);
      if (*at == 'u') {
        found += static_cast<char>(std::strtol(std::string(at + 1, 4).c_str(), nullptr, 16));
        at += 4;
      } else {
        found += place == std::string::npos ? *at : meant[place];
      }
    }
    ++at;
    return found;
  }
};

inline Json read_manifest(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return JsonReader(std::string(std::istreambuf_iterator<char>(file), {})).read();
}

inline std::vector<std::string> read_labels(const Json& manifest) {
  std::vector<std::string> labels;
  for (const Json& label : manifest["labels"].items) labels.push_back(label.string);
  return labels;
}

// Whether the graph is to be asked for "novelty", too.
inline bool decides_by_novelty(const Json& manifest) {
  return manifest["abstention"]["novelty"].kind == Json::object;
}

struct Decision {
  std::size_t label;            // place of the label answered
  std::vector<bool> called;     // labels that have an operating point and reach it
  std::vector<bool> given;      // of a multilabel model the labels given, else empty
  std::vector<bool> set;        // the conformal set; empty where the file has none
  std::string decision;         // "label", "uncertain", "unlike training"; empty where the file never abstains
};

// Place of the first largest value among some, or among all where there are none of these.
inline std::size_t find_largest(const std::vector<double>& values, const std::vector<bool>& among) {
  const bool some = std::count(among.begin(), among.end(), true) > 0;
  std::size_t found = values.size();
  for (std::size_t at = 0; at < values.size(); ++at)
    if ((!some || among[at]) && (found == values.size() || values[at] > values[found])) found = at;
  return found;
}

inline std::vector<bool> find_set(const std::vector<double>& p, const Json& sets) {
  const bool aps = sets["method"].string == "aps";
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  std::vector<bool> set(p.size());
  double sum = 0;
  for (const std::size_t at : order) {
    sum += p[at];
    const double score = std::min(aps ? sum : 1 - p[at], 1.0);
    set[at] = score <= sets["quantiles"].items.at(sets["per_class"].value ? at : 0).value;
  }
  if (aps) set[order[0]] = true;
  return set;
}

// probabilities: one for each label; novelty: the score, looked at only where decides_by_novelty.
inline Decision decide(const float* probabilities, float novelty, const Json& manifest) {
  const auto labels = read_labels(manifest);
  const std::vector<double> p(probabilities, probabilities + labels.size());
  std::vector<double> ratios = p;
  std::vector<bool> free(p.size(), true), called(p.size()), given(p.size());
  for (std::size_t at = 0; at < p.size(); ++at) {
    given[at] = p[at] >= 0.5;
    for (const Json& point : manifest["operating"].items) {
      if (point["label"].string != labels[at]) continue;
      free[at] = false;
      given[at] = called[at] = p[at] >= point["threshold"].value;
      ratios[at] = p[at] / std::max(point["threshold"].value, 1e-12);
    }
  }
  const bool several = manifest["task"].string == "multilabel";
  const bool reached = std::count(called.begin(), called.end(), true) > 0;
  const std::size_t label =
      several ? find_largest(p, given) : reached ? find_largest(ratios, called) : find_largest(p, free);
  Decision made{label, called, several ? given : std::vector<bool>{}, {}, ""};
  const Json& abstention = manifest["abstention"];
  if (abstention.kind == Json::null) return made;
  made.decision = "label";
  const Json &sets = abstention["sets"], &error = abstention["error"], &unlike = abstention["novelty"];
  if (sets.kind != Json::null) made.set = find_set(p, sets);
  if (sets.kind != Json::null && !(made.set[label] && std::count(made.set.begin(), made.set.end(), true) == 1))
    made.decision = "uncertain";
  if (error.kind != Json::null && *std::max_element(p.begin(), p.end()) < error["threshold"].value)
    made.decision = "uncertain";
  if (unlike.kind != Json::null && !(novelty <= unlike["threshold"].value)) made.decision = "unlike training";
  return made;
}

// One line for people and tests: label, decision, labels given, labels called, set; joined by '|', parted by tabs.
inline std::string describe(const Decision& made, const std::vector<std::string>& labels) {
  std::string line = labels[made.label] + '\t' + made.decision;
  for (const std::vector<bool>* held : {&made.given, &made.called, &made.set}) {
    line += '\t';
    bool first = true;
    for (std::size_t at = 0; at < held->size(); ++at) {
      if (!(*held)[at]) continue;
      line += (first ? "" : "|") + labels[at];
      first = false;
    }
  }
  return line;
}
