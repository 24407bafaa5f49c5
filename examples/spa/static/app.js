import { fetch, me, signOut } from "/wecom/wecom.js";

const main = document.querySelector("main");
const out = document.getElementById("out");

// Pages that need the API sign in by themselves: this fetch leaves for the sign-in on a 401 and
// comes back to the same #/route.
const pages = {
  "": async () => "This page is for everybody.",
  me: async () => JSON.stringify(await api("/api/me"), null, 2),
  orders: async (id) => `Order ${id}, as ${(await api("/api/me")).user_id} sees it.`,
};

async function api(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function show() {
  const [name, ...rest] = location.hash.slice(2).split("/");
  const page = pages[name] ?? (async () => "There is no such page.");
  const text = document.createElement("pre");
  text.textContent = await page(...rest).catch((error) => error.message);
  main.replaceChildren(text);
  out.hidden = (await me()) === null;
}

out.onclick = () => signOut(); // leads to a public page
addEventListener("hashchange", show);
show();
