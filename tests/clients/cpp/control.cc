#include "control.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <stdexcept>

namespace {

constexpr timeval kTimeout{30, 0};

// Closes its socket at the end of the scope.
struct Socket {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  ~Socket() { close(fd); }
};

}  // namespace

void control(const std::string& url, const std::string& method, const std::string& path) {
  const auto fail = [&](const std::string& why) {
    throw std::runtime_error(method + " " + path + " of the model server: " + why);
  };
  const std::string scheme = "http://";
  const auto colon = url.rfind(':');
  const std::string host = url.substr(scheme.size(), colon - scheme.size());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::stoi(url.substr(colon + 1))));
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) fail("no address in " + url);

  Socket connection;
  setsockopt(connection.fd, SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof kTimeout);
  if (connect(connection.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("not reached");
  // HTTP/1.0: the server closes the connection at the end of the answer.
  const std::string request = method + " " + path + " HTTP/1.0\r\ncontent-length: 0\r\n\r\n";
  if (send(connection.fd, request.data(), request.size(), 0) != static_cast<ssize_t>(request.size())) {
    fail("not sent");
  }
  std::string answer;
  char buffer[512];
  ssize_t size;
  while ((size = recv(connection.fd, buffer, sizeof buffer, 0)) > 0) answer.append(buffer, size);
  if (size < 0) fail("no answer in time");
  if (answer.find(" 204 ") != std::string("HTTP/1.0").size()) fail(answer.substr(0, answer.find('\r')));
}
