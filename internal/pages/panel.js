(() => {
  "use strict";
  const main = document.querySelector("main");
  const { attempt, session, script, frame } = main.dataset;
  const place = document.getElementById("panel");
  const patience = 5000; // until somebody is told what to do if there is no panel
  let minted, panel, used;

  // The server never sees the fragment of the page that was asked for; the redirect here kept it.
  let { returnTo } = main.dataset;
  if (returnTo && !returnTo.includes("#") && location.hash) {
    const direct = new URL(main.querySelector("a").href);
    returnTo += location.hash;
    direct.searchParams.set("return_to", returnTo);
    main.querySelector("a").href = direct;
  }

  // say shows what goes with a state: loading, ready, blocked, busy, failed.
  function say(state) {
    main.dataset.state = state;
    for (const e of main.querySelectorAll("[data-when]")) e.hidden = e.dataset.when !== state;
    main.querySelector("a").className = state === "blocked" || state === "failed" ? "primary" : "";
  }

  function fail(message, reference) {
    if (panel) panel.unmount();
    say("failed");
    if (message) main.querySelector(".failed").textContent = message;
    main.querySelector("code").textContent = reference || "";
    main.querySelector(".reference").hidden = !reference;
  }

  async function post(url, body) {
    const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const answer = await response.json().catch(() => ({})); // a proxy's page
    return response.ok ? answer : Promise.reject(answer);
  }

  async function mint() {
    minted = await post(attempt, { return_to: returnTo });
  }

  function enter(code) {
    return post(session, { code, state: minted.state });
  }

  async function signIn({ code }) {
    if (used) return;
    used = true;
    say("busy");
    try {
      // The attempt is too old when the page was left open: a code is not used up by that.
      await enter(code).catch((e) => (e.error === "attempt_lost" ? mint().then(() => enter(code)) : Promise.reject(e)));
      location.replace(minted.return_to);
    } catch (e) {
      fail(e.message && e.error ? e.message : "", e.reference);
    }
  }

  function show() {
    if (!window.ww || !window.ww.createWWLoginPanel) return say("blocked");
    const { login_type, appid, agentid, redirect_uri, state, lang } = minted;
    panel = window.ww.createWWLoginPanel({
      el: place,
      params: {
        login_type, appid, agentid, redirect_uri, state, lang,
        redirect_type: "callback",
        panel_size: innerWidth < 600 ? "small" : "middle",
        color_scheme: "auto",
      },
      onLoginSuccess: signIn,
      onLoginFail: ({ errCode }) => fail("", "WeCom " + errCode),
    });
    panel.el.title = frame;
    // A frame that was blocked says nothing, and nothing else tells.
    addEventListener("message", (e) => {
      if (e.source === panel.el.contentWindow && /^(loading|blocked)$/.test(main.dataset.state)) say("ready");
    });
  }

  async function load() {
    say("loading");
    try {
      await mint();
    } catch (e) {
      return fail(e.message && e.error ? e.message : "", e.reference);
    }
    setTimeout(() => main.dataset.state === "loading" && say("blocked"), patience);
    const element = document.createElement("script");
    element.src = script;
    element.onload = show;
    element.onerror = () => say("blocked");
    document.head.append(element);
  }

  // On a phone: the link to open in WeCom, and a button that copies it.
  function offer(copy) {
    const link = document.getElementById("link");
    if (!link.textContent.includes("#") && returnTo.includes("#")) link.textContent += location.hash;
    copy.hidden = false;
    copy.onclick = async () => {
      try {
        await navigator.clipboard.writeText(link.textContent);
      } catch { // not https, or a web-view without it
        getSelection().selectAllChildren(link);
        if (!document.execCommand("copy")) return say("select");
      }
      copy.textContent = copy.dataset.done;
    };
  }

  const copy = document.getElementById("copy");
  if (copy) return offer(copy);
  addEventListener("pageshow", (e) => e.persisted && location.reload());
  load();
})();
