#include "worker/engine/graph/model.h"

#include <algorithm>
#include <utility>

namespace lathe::engine {
namespace {

// The attribute of that name, emptied and made to be of `kind`; added when there is none.
Attribute& Reset(Node& node, absl::string_view name, Attribute::Kind kind) {
  Attribute* attribute = node.FindAttribute(name);
  if (attribute == nullptr) {
    node.attributes.emplace_back();
    attribute = &node.attributes.back();
  }
  *attribute = Attribute();
  attribute->name = std::string(name);
  attribute->kind = kind;
  return *attribute;
}

bool Contains(const std::vector<ValueInfo>& infos, absl::string_view value) {
  return std::any_of(infos.begin(), infos.end(),
                     [value](const ValueInfo& info) { return info.name == value; });
}

}  // namespace

const Attribute* Node::FindAttribute(absl::string_view attribute) const {
  for (const Attribute& candidate : attributes) {
    if (candidate.name == attribute) return &candidate;
  }
  return nullptr;
}

Attribute* Node::FindAttribute(absl::string_view attribute) {
  return const_cast<Attribute*>(std::as_const(*this).FindAttribute(attribute));
}

int64_t Node::IntAttribute(absl::string_view attribute, int64_t fallback) const {
  const Attribute* found = FindAttribute(attribute);
  return found != nullptr && found->kind == Attribute::Kind::kInt ? found->i : fallback;
}

float Node::FloatAttribute(absl::string_view attribute, float fallback) const {
  const Attribute* found = FindAttribute(attribute);
  return found != nullptr && found->kind == Attribute::Kind::kFloat ? found->f : fallback;
}

std::string Node::StringAttribute(absl::string_view attribute, absl::string_view fallback) const {
  const Attribute* found = FindAttribute(attribute);
  return found != nullptr && found->kind == Attribute::Kind::kString ? found->s
                                                                     : std::string(fallback);
}

std::vector<int64_t> Node::IntsAttribute(absl::string_view attribute,
                                         std::vector<int64_t> fallback) const {
  const Attribute* found = FindAttribute(attribute);
  return found != nullptr && found->kind == Attribute::Kind::kInts ? found->ints : fallback;
}

void Node::SetInt(absl::string_view attribute, int64_t value) {
  Reset(*this, attribute, Attribute::Kind::kInt).i = value;
}

void Node::SetInts(absl::string_view attribute, std::vector<int64_t> value) {
  Reset(*this, attribute, Attribute::Kind::kInts).ints = std::move(value);
}

void Node::SetFloat(absl::string_view attribute, float value) {
  Reset(*this, attribute, Attribute::Kind::kFloat).f = value;
}

void Node::SetString(absl::string_view attribute, std::string value) {
  Reset(*this, attribute, Attribute::Kind::kString).s = std::move(value);
}

void Node::RemoveAttribute(absl::string_view attribute) {
  attributes.erase(std::remove_if(attributes.begin(), attributes.end(),
                                  [attribute](const Attribute& a) { return a.name == attribute; }),
                   attributes.end());
}

bool Graph::IsInput(absl::string_view value) const { return Contains(inputs, value); }
bool Graph::IsOutput(absl::string_view value) const { return Contains(outputs, value); }

int64_t Model::OpsetVersion(absl::string_view domain) const {
  const auto found = opset_imports.find(std::string(domain));
  return found == opset_imports.end() ? 0 : found->second;
}

}  // namespace lathe::engine
