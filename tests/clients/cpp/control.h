// Talks with the scripted model server.
#pragma once

#include <string>

// Makes an HTTP request to the server at `url` (http://address:port) and throws unless the answer is 204.
void control(const std::string& url, const std::string& method, const std::string& path);
