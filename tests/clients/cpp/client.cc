// Uses a server as a C++ program would: over the network, with stubs that grpc_cpp_plugin made.
// Run by ../space.py, which says what is in the environment.

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>
#include <syft/space/v1/endpoint_service.grpc.pb.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "control.h"

namespace space = syft::space::v1;
using Events = grpc::ClientReader<space::StreamQueryResponse>;
using Strings = std::vector<std::string>;

namespace {

constexpr std::chrono::seconds kCallTime{30};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
  return value;
}

std::string file(const std::string& path) {
  std::ifstream input(path);
  if (!input) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(input), {}};
}

std::string text(const std::string& value) { return '"' + value + '"'; }
std::string text(const Strings& values) {
  std::string all;
  for (const auto& value : values) all += text(value) + " ";
  return all;
}

// Throws unless both are equal.
template <typename T>
void equal(const T& found, const T& expected) {
  if (found != expected) throw std::runtime_error("found " + text(found) + ", not " + text(expected));
}

void ok(const grpc::Status& status) {
  if (!status.ok()) {
    throw std::runtime_error("status " + std::to_string(status.error_code()) + ": " + status.error_message());
  }
}

void code(const grpc::Status& status, grpc::StatusCode expected) {
  if (status.error_code() != expected) {
    throw std::runtime_error("status " + std::to_string(status.error_code()) + ", not " + std::to_string(expected) +
                             ": " + status.error_message());
  }
}

// Expects a call to have failed so, and returns its status with the details.
google::rpc::Status fails_with(const grpc::Status& found, grpc::StatusCode expected, const std::string& reason) {
  code(found, expected);
  google::rpc::Status status;
  if (!status.ParseFromString(found.error_details())) throw std::runtime_error("the details are malformed");
  for (const auto& detail : status.details()) {
    google::rpc::ErrorInfo info;
    if (!detail.UnpackTo(&info)) continue;
    equal<Strings>({info.reason(), info.domain()}, {reason, "space.syft"});
    return status;
  }
  throw std::runtime_error("the status has no ErrorInfo");
}

// What is known of one call. A new one for each, as gRPC wants it.
struct Call : grpc::ClientContext {
  explicit Call(bool authorized = true) {
    set_deadline(std::chrono::system_clock::now() + kCallTime);
    if (authorized) AddMetadata("authorization", "Bearer " + variable("KEY"));
  }
};

std::unique_ptr<space::EndpointService::Stub> connect(const grpc::ChannelArguments& arguments) {
  const auto channel =
      grpc::CreateCustomChannel(variable("ADDRESS"), grpc::InsecureChannelCredentials(), arguments);
  return space::EndpointService::NewStub(channel);
}

space::EndpointService::Stub& client() {
  static const auto stub = [] {
    grpc::ChannelArguments arguments;
    arguments.SetServiceConfigJSON(file(variable("SERVICE_CONFIG")));
    return connect(arguments);
  }();
  return *stub;
}

template <typename Request>
Request request(const std::string& slug, const std::string& question) {
  Request request;
  request.set_slug(slug);
  request.mutable_query()->set_text(question);
  return request;
}

const auto question = request<space::QueryRequest>;
const auto streamed = request<space::StreamQueryRequest>;

std::string kind(const space::StreamQueryResponse& event) {
  const auto* oneof = space::StreamQueryResponse::descriptor()->FindOneofByName("event");
  const auto* field = event.GetReflection()->GetOneofFieldDescriptor(event, oneof);
  return field == nullptr ? "" : field->name();
}

void unary_query() {
  auto asked = question("legal-qa", "What is the copyright term?");
  asked.mutable_query()->mutable_stop_sequences();
  Call call;
  space::QueryResponse answer;
  ok(client().Query(&call, asked, &answer));
  if (answer.references().documents_size() != 1) throw std::runtime_error(answer.ShortDebugString());
  const auto& reference = answer.references().documents(0);
  equal<std::string>(reference.document_id(), "copyright");
  equal<std::string>(reference.metadata().fields().at("kind").string_value(), "law");
  if (answer.summary().content().find("seventy years") == std::string::npos) {
    throw std::runtime_error("the text is " + text(answer.summary().content()));
  }
  equal<std::string>(answer.policy_metadata().outcome(), "success");
}

void streamed_query() {
  Call call;
  const auto events = client().StreamQuery(&call, streamed("paced", "Count"));
  Strings deltas, kinds;
  space::StreamQueryResponse event;
  while (events->Read(&event)) {
    kinds.push_back(kind(event));
    if (event.has_delta()) {
      deltas.push_back(event.delta().content());
      // Only now does the model write the next piece.
      control(variable("UPSTREAM"), "POST", "/arrived");
    } else if (event.has_completed() && event.completed().query_id().empty()) {
      throw std::runtime_error("`completed` has no query id");
    }
  }
  ok(events->Finish());
  equal(deltas, {"one ", "two ", "three"});
  equal(kinds, {"delta", "delta", "delta", "completed"});
}

void cancelled_stream() {
  auto asked = streamed("endless", "Go on");
  asked.mutable_query()->set_max_tokens(1'000'000);
  Call call;
  const auto events = client().StreamQuery(&call, asked);
  space::StreamQueryResponse event;
  if (!events->Read(&event)) ok(events->Finish());
  equal<std::string>(kind(event), "delta");
  call.TryCancel();
  control(variable("UPSTREAM"), "GET", "/hung-up");
  while (events->Read(&event)) {
  }
  code(events->Finish(), grpc::StatusCode::CANCELLED);
}

void wrong_slug() {
  Call call;
  space::QueryResponse answer;
  const auto status = client().Query(&call, question("wrong", "?"), &answer);
  fails_with(status, grpc::StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND");
}

void missing_key() {
  Call call(false);
  space::QueryResponse answer;
  const auto status = client().Query(&call, question("legal-qa", "?"), &answer);
  fails_with(status, grpc::StatusCode::UNAUTHENTICATED, "UNAUTHENTICATED");
}

void invalid_fields() {
  auto asked = question("legal-qa", "?");
  asked.mutable_query()->set_limit(0);
  asked.mutable_query()->set_temperature(9);
  Call call;
  space::QueryResponse answer;
  const auto failed = client().Query(&call, asked, &answer);
  const auto status = fails_with(failed, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST");
  Strings fields;
  for (const auto& detail : status.details()) {
    google::rpc::BadRequest invalid;
    if (!detail.UnpackTo(&invalid)) continue;
    for (const auto& violation : invalid.field_violations()) fields.push_back(violation.field());
  }
  std::sort(fields.begin(), fields.end());
  equal(fields, {"query.limit", "query.temperature"});
}

void repeated_calls() {
  grpc::ChannelArguments without;
  without.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  Call once;
  space::QueryResponse answer;
  const auto status = connect(without)->Query(&once, question("flaky", "Once?"), &answer);
  fails_with(status, grpc::StatusCode::UNAVAILABLE, "MODEL_UNAVAILABLE");

  auto asked = question("flaky", "Unary?");
  // A call that gRPC repeats keeps its id.
  asked.set_request_id("5f0c9d1e-7a34-4f6b-9b1d-2c8e4a6f0b13");
  Call unary;
  ok(client().Query(&unary, asked, &answer));
  equal<std::string>(answer.summary().content(), "again");

  Call call;
  const auto events = client().StreamQuery(&call, streamed("flaky", "Streamed?"));
  Strings kinds;
  space::StreamQueryResponse event;
  while (events->Read(&event)) kinds.push_back(kind(event));
  ok(events->Finish());
  equal(kinds, {"delta", "completed"});
}

const std::vector<std::pair<std::string, std::function<void()>>> kChecks{
    {"a unary query gives references and text", unary_query},
    {"deltas arrive one by one, then one `completed`", streamed_query},
    {"a cancelled stream stops the model", cancelled_stream},
    {"a wrong slug is NOT_FOUND", wrong_slug},
    {"a missing key is UNAUTHENTICATED", missing_key},
    {"every invalid field is named", invalid_fields},
    {"the service config has UNAVAILABLE repeated", repeated_calls},
};

}  // namespace

int main() {
  size_t failed = 0;
  for (const auto& [name, check] : kChecks) {
    try {
      check();
      std::cout << "ok      " << name << std::endl;
    } catch (const std::exception& error) {
      ++failed;
      std::cout << "FAILED  " << name << "\n        " << error.what() << std::endl;
    }
  }
  std::cout << kChecks.size() - failed << " passed, " << failed << " failed" << std::endl;
  return failed == 0 ? 0 : 1;
}
