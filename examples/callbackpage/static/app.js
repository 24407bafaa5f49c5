import { attempt, exchange, me, signOut } from "/wecom/wecom.js";

const who = document.getElementById("who");
const signIn = document.getElementById("in");
const out = document.getElementById("out");

// begin asks the server for a state, whose cookie makes the sign-in this browser's own, and leaves for WeCom.
async function begin() {
  const { state, return_to, in_app_url, web_url } = await attempt("/");
  sessionStorage.setItem("return_to " + state, return_to);
  location.assign(/wxwork\//i.test(navigator.userAgent) ? in_app_url : web_url);
}

// finish is the callback: this page, with code and state in its address.
async function finish() {
  const query = new URLSearchParams(location.search);
  const code = query.get("code");
  const state = query.get("state");
  history.replaceState(null, "", "/"); // the code stays neither in the address nor in the history
  if (!code || !state) throw new Error("登录已取消 · The sign-in was cancelled.");
  await exchange(code, state); // sets the session's cookie
  location.replace(sessionStorage.getItem("return_to " + state) ?? "/");
}

async function show() {
  const id = await me();
  who.textContent = id ? id.user_id : "";
  signIn.hidden = id !== null;
  out.hidden = id === null;
}

signIn.onclick = () => begin().catch(tell);
out.onclick = () => signOut().catch(tell);

function tell(error) {
  who.textContent = error.message;
  signIn.hidden = false;
}

(location.pathname === "/wecom/callback" ? finish() : show()).catch(tell);
