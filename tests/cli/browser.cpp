#include "tests/cli/browser.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace tessera::test {
namespace {

using nlohmann::json;

[[noreturn]] void lost(const char* what) { throw std::runtime_error(std::string("[browser] ") + what); }

/// The browser reads commands from descriptor 3 and answers on 4; each message ends with a zero byte.
[[noreturn]] void become(const std::string& program, const std::string& profile, int commands, int answers) {
  // out of the way of 3 and 4, whatever numbers the pipes have
  const int in = ::fcntl(commands, F_DUPFD, 10), out = ::fcntl(answers, F_DUPFD, 10);
  ::dup2(in, 3), ::dup2(out, 4);
  const int nowhere = ::open("/dev/null", O_RDWR);
  ::dup2(nowhere, 0), ::dup2(nowhere, 1), ::dup2(nowhere, 2);
  const std::string data = "--user-data-dir=" + profile;
  ::execl(program.c_str(), program.c_str(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
          "--remote-debugging-pipe", "--no-first-run", data.c_str(), "about:blank", nullptr);
  ::_exit(127);
}

}  // namespace

Browser::Browser(const std::string& program) {
  int commands[2], answers[2];
  if (::pipe2(commands, O_CLOEXEC) != 0 || ::pipe2(answers, O_CLOEXEC) != 0) lost("no pipe");
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);  // it has processes of its own, which end with it
    become(program, profile_.path(), commands[0], answers[1]);
  }
  ::close(commands[0]), ::close(answers[1]);
  to_ = commands[1], from_ = answers[0];
  const json target = json::parse(call("Target.createTarget", R"({"url":"about:blank"})"));
  const json parameters{{"targetId", target["targetId"]}, {"flatten", true}};
  session_ = json::parse(call("Target.attachToTarget", parameters.dump()))["sessionId"];
  for (const char* domain : {"Page", "Runtime", "Log", "Network"}) call(std::string(domain) + ".enable", "{}");
}

Browser::~Browser() {
  if (pid_ > 0) ::kill(-pid_, SIGKILL), ::waitpid(pid_, nullptr, 0);
  ::close(to_), ::close(from_);
}

std::string Browser::receive() {
  for (;;) {
    if (const size_t end = buffer_.find('\0'); end != std::string::npos) {
      const std::string message = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return message;
    }
    pollfd wait{from_, POLLIN, 0};
    if (::poll(&wait, 1, 30'000) <= 0) lost("no answer within half a minute");
    char bytes[1 << 16];
    const ssize_t n = ::read(from_, bytes, sizeof bytes);
    if (n <= 0) lost("it has ended");
    buffer_.append(bytes, static_cast<size_t>(n));
  }
}

void Browser::note(const std::string& message) {
  const json j = json::parse(message);
  const std::string method = j.value("method", "");
  if (method == "Network.requestWillBeSent") {
    const std::string url = j["params"]["request"]["url"];
    if (url.substr(0, url.find('#')) != page_ && !url.starts_with("data:")) requests.push_back(url);
  }
  if (method == "Runtime.exceptionThrown" || method == "Log.entryAdded") complaints.push_back(j["params"].dump());
  if (method == "Runtime.consoleAPICalled") complaints.push_back(j["params"].dump());
}

std::string Browser::call(const std::string& method, const std::string& parameters) {
  json command{{"id", ++last_}, {"method", method}, {"params", json::parse(parameters)}};
  if (!session_.empty()) command["sessionId"] = session_;
  const std::string text = command.dump();
  if (::write(to_, text.c_str(), text.size() + 1) != static_cast<ssize_t>(text.size() + 1)) lost("it does not listen");
  for (;;) {
    const std::string message = receive();
    const json j = json::parse(message);
    if (j.value("id", 0) != last_) {
      note(message);
      continue;
    }
    if (j.contains("error")) lost(j["error"].dump().c_str());
    return j["result"].dump();
  }
}

void Browser::open(const std::string& url, bool scripts) {
  call("Emulation.setScriptExecutionDisabled", json{{"value", !scripts}}.dump());
  requests.clear(), complaints.clear();
  call("Page.navigate", R"({"url":"about:blank"})");
  page_ = url.substr(0, url.find('#'));
  call("Page.navigate", json{{"url", url}}.dump());
  const std::string there = json("complete " + page_).dump();
  for (int tries = 0; value("document.readyState + ' ' + location.href.split('#')[0]") != there; ++tries) {
    if (tries == 1500) lost("the page does not load");
    ::usleep(20'000);
  }
}

std::string Browser::value(const std::string& expression) {
  const json parameters{{"expression", expression}, {"returnByValue", true}};
  const json answer = json::parse(call("Runtime.evaluate", parameters.dump()));
  if (answer.contains("exceptionDetails")) return answer["exceptionDetails"].dump();
  return answer["result"].contains("value") ? answer["result"]["value"].dump() : "undefined";
}

void Browser::look(int width, int height, bool dark) {
  call("Emulation.setDeviceMetricsOverride",
       json{{"width", width}, {"height", height}, {"deviceScaleFactor", 1}, {"mobile", width < 600}}.dump());
  const json scheme{{"name", "prefers-color-scheme"}, {"value", dark ? "dark" : "light"}};
  call("Emulation.setEmulatedMedia", json{{"media", ""}, {"features", json::array({scheme})}}.dump());
}

void Browser::paper() {  // 210 by 297 mm at 96 dots an inch, less the margins of 14 mm that our pages ask for
  call("Emulation.setDeviceMetricsOverride",
       json{{"width", 688}, {"height", 1017}, {"deviceScaleFactor", 1}, {"mobile", false}}.dump());
  call("Emulation.setEmulatedMedia", json{{"media", "print"}}.dump());
}

}  // namespace tessera::test
