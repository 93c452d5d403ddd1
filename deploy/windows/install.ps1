# Install Martensight on a Windows PC as a service. Run in an administrator's PowerShell:
#   .\install-windows.ps1 [-Folder C:\ProgramData\Martensight] [-Package martensight]
# Installs into its own virtual environment, writes a settings file if there is none, and
# registers the service. Running it again updates the program and leaves settings and data alone.
param(
    [string]$Folder = "$env:ProgramData\Martensight",
    [string]$Package = "martensight",
    [string]$Python = "py"
)
$ErrorActionPreference = "Stop"

$admin = ([Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
).IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
if (-not $admin) { throw "Run this in an administrator's PowerShell." }

function Invoke-Step([string]$Program, [string[]]$Arguments) {
    & $Program @Arguments
    if ($LASTEXITCODE -ne 0) { throw "$Program $($Arguments -join ' ') ended with $LASTEXITCODE" }
}

New-Item -ItemType Directory -Force -Path $Folder | Out-Null
$venv = Join-Path $Folder "venv"
$agent = Join-Path $venv "Scripts\agent.exe"
$config = Join-Path $Folder "agent.toml"

if (Get-Service -Name Martensight -ErrorAction SilentlyContinue) {
    Stop-Service -Name Martensight -ErrorAction SilentlyContinue   # its files are in use
}
if (-not (Test-Path $venv)) { Invoke-Step $Python @("-3", "-m", "venv", $venv) }
Invoke-Step (Join-Path $venv "Scripts\python.exe") @("-m", "pip", "install", "--upgrade", $Package)

if (-not (Test-Path $config)) {
    Invoke-Step $agent @("init", $Folder)
    Write-Host "Now write your sources into $config (shares as \\server\share\folder), then run this again."
    exit 0
}
Invoke-Step $agent @("--config", $config, "doctor")
if (-not (Get-Service -Name Martensight -ErrorAction SilentlyContinue)) {
    Invoke-Step $agent @("--config", $config, "service", "install")
}
Invoke-Step $agent @("--config", $config, "service", "start")
Invoke-Step $agent @("--config", $config, "status")
