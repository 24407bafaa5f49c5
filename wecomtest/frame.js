// Inside the login panel's frame: tells the page around it what happened.
(function (told) {
  "use strict";
  if (told.top) {
    window.top.location.replace(told.top);
    return;
  }
  if (window.parent === window) return;
  function tell(message) {
    window.parent.postMessage(JSON.stringify(message), told.origin || "*");
  }
  function call(name, payload) {
    tell({ type: "ww-iframe-handle:call", uid: name, args: { type: "call", name: name, payload: payload } });
  }
  tell({ type: "ww-iframe-handle:ready" });
  if (told.code) call("onLoginSuccess", { code: told.code });
  else if (told.errcode) call("onLoginFail", { errCode: Number(told.errcode), errMsg: told.errmsg });
  else call("onCheckWeComLogin", { isWeComLogin: false });
})(document.currentScript.dataset);
