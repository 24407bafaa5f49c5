// The fake's part of @wecom/jssdk: the login panel and nothing else.
var ww = (function (script) {
  "use strict";
  var origin = new URL(script.src).origin;
  var prefix = "ww-iframe-handle:";
  var sizes = { middle: ["480px", "416px"], small: ["320px", "380px"] };

  function createWWLoginPanel(options) {
    var params = options.params || {};
    var frame = document.createElement("iframe");
    var size = sizes[params.panel_size] || sizes.middle;
    frame.style.display = "block";
    frame.style.border = "none";
    frame.style.background = "transparent";
    frame.style.width = size[0];
    frame.style.height = size[1];
    frame.referrerPolicy = "origin";
    frame.setAttribute("allow", "local-network-access");

    function send(message) {
      frame.contentWindow.postMessage(JSON.stringify(message), origin);
    }
    // Only the frame's own messages count, and only from the origin that it was made for.
    function hear(event) {
      if (event.origin !== origin || event.source !== frame.contentWindow) return;
      var message;
      try {
        message = JSON.parse(event.data);
      } catch (e) {
        return;
      }
      if (message.type !== prefix + "call" || !message.args || message.args.type !== "call") return;
      var call = options[message.args.name];
      if (typeof call === "function") call(message.args.payload);
      if (message.uid) send({ type: prefix + "response", uid: message.uid, kind: "resolve" });
    }
    addEventListener("message", hear);

    var url = new URL("/wwlogin/sso/login", origin);
    Object.keys(params).forEach(function (name) {
      url.searchParams.set(name, params[name]);
    });
    url.searchParams.set("version", "0.0.0-fake");
    frame.src = url.href;
    var at = typeof options.el === "string" ? document.querySelector(options.el) : options.el;
    if (at) at.appendChild(frame);

    return {
      el: frame,
      unmount: function () {
        removeEventListener("message", hear);
        frame.remove();
      },
    };
  }

  return { SDK_VERSION: "0.0.0-fake", createWWLoginPanel: createWWLoginPanel };
})(document.currentScript);
